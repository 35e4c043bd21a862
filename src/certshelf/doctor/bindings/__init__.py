"""What a server listens for, read from its configuration: one file per kind of server."""
