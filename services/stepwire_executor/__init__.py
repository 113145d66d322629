"""The executor service of Stepwire."""
