"""Workflows whose steps have effects that can be counted."""
