"""Rigs and helpers that several tests share."""
