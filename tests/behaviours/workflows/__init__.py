"""The workflows that the behaviours are shown with; executors serve them."""
