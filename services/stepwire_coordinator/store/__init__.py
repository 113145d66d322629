"""The coordinator's SQL; nothing outside this room knows it."""
