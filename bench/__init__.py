"""Measures the running services from outside: `make bench`, or `python -m bench w1,w2`."""
