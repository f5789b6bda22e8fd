"""`python -m tests.surface` pins the public names as they are now: review the difference before you commit it."""

from __future__ import annotations

import eventseam
from tests.surface.test_surface import PINNED

PINNED.write_text("".join(f"{name}\n" for name in sorted(eventseam.__all__)), encoding="utf-8")
