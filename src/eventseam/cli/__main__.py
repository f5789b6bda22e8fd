"""`python -m eventseam.cli` is `eventseam`. A Ctrl-C while it still imports what it needs shows no traceback either."""

from __future__ import annotations

import sys

INTERRUPTED = 130


def main() -> int:
    """Run the command line. Never raises an error."""
    try:
        from eventseam.cli.main import main as run

        return run()
    except KeyboardInterrupt:
        print("eventseam: interrupted.", file=sys.stderr)
        return INTERRUPTED


if __name__ == "__main__":
    sys.exit(main())
