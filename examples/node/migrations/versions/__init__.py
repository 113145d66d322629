"""Revisions, run by `stepwire db upgrade` together with the engine's."""
