"""Deployment tasks: what is done before a request and after it, one file a type."""
