"""The `eventseam` command: reads `app.describe()` and the store's operations, and decides nothing itself.

Scripts can trust three things: `--json` puts one document with stable keys on stdout, errors are one line on stderr,
and the exit codes are those of `exits.Exit`. Secrets are masked; payloads are printed by `dlq show` alone.
"""
