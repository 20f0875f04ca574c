"""Frozen values that every other package speaks. No I/O, no clock, no logger."""
