"""Importing: what other tools keep issued, read from their own files; one file for each tool."""
