"""The cases on PostgreSQL: each beside the way it is done by hand today and beside the least that it can cost."""
