"""How each kind of server gets the bundle at a handshake."""
