"""Migrations of the node example; STEPWIRE_MIGRATIONS names the folder `versions`."""
