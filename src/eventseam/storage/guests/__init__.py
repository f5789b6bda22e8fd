"""The user's own open connection, of whatever library, as the Sql port sees it. Nothing here ends a transaction."""
