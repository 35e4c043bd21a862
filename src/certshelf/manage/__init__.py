"""The only part with memory: what, when, by whom."""
