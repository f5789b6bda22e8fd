"""Who listens: services, the app, contexts, transactions. The composition root: only here adapters are known."""
