"""What a Windows farm needs: scripts that set IIS up, read it back, and its bindings."""
