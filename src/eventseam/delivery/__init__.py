"""How a message gets there: lanes, workers, the committer, what is unsettled. Knows no adapter and no user API."""
