"""The command line, against servers that run."""
