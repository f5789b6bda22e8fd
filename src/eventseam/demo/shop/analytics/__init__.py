"""Analytics: the read model of revenue by state. Listens, and says nothing to other services."""
