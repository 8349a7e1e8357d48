"""Whole jobs, each of several stages: what a command or one call of the library does."""
