"""Databases: one driver file each, their statements in `.sql` files, their numbered migrations."""
