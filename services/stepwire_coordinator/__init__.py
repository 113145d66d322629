"""The coordinator service of Stepwire."""
