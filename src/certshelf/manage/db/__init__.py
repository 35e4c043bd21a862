"""The only SQL: tables, migrations and queries, one file per noun."""
