"""Writes the reference part of the documentation from the code itself, while mkdocs builds the site."""
