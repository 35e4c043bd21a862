"""ACME (RFC 8555): one file per object of the RFC, and the steps that a durable order takes."""
