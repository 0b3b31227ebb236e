"""Helpers that the tests of the Python package and tests/data/make.py share."""
