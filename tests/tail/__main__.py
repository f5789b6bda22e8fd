"""`python -m tests.tail --minutes 10`: the chaos, as long as you like. Exit code 0 if all was read once, in order."""

from __future__ import annotations

import sys

from tests.tail.chaos import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
