"""The gateway service of Stepwire."""
