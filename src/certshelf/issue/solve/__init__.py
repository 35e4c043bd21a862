"""Solvers: one file per kind of challenge, and dns/ with one file per way to write a record."""
