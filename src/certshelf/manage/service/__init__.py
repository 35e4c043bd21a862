"""`certshelf run`: what a manager does for years without being asked."""
