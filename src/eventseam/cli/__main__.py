"""`python -m eventseam.cli` is `eventseam`."""

from __future__ import annotations

import sys

from eventseam.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
