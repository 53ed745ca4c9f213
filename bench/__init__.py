"""Measurements behind the figures that the documents quote. `make bench` runs them; none of them is a test."""
