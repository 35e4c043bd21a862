"""Telling people what needs them: what is wrong, when to say so, and by which way."""
