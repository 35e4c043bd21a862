"""Ways to write a TXT record: one file per provider or protocol."""
