"""Where bytes lie, with versions; knows no certificates."""
