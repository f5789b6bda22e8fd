"""Who listens: services, the app, contexts and transactions. The composition root: the only place that knows adapters."""
