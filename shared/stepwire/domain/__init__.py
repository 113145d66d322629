"""What processes work on, and the steps every author needs for it."""
