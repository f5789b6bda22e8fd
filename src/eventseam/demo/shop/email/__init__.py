"""Email: tells customers what became of their orders. Listens, and says nothing to other services."""
