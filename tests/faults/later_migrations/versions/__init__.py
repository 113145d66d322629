"""The first migration again, and one more."""
