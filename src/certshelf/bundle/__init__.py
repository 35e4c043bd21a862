"""A private key, its leaf and its chain as one immutable value."""
