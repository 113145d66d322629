"""Revisions, run together with the engine's."""
