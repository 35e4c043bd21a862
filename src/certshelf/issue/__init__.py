"""From names to a bundle."""
