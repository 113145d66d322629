"""The tables of a later version of these tests' workflows."""
