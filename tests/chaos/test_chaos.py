"""`make chaos` itself works: it kills, resumes, and judges."""

from __future__ import annotations

import subprocess
import sys


def test_a_shop_that_is_killed_twice_ends_right():
    words = [sys.executable, "-m", "tests.chaos", "--orders", "200", "--kills", "2", "--outage", "0.5", "--seed", "3"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=55, check=False)
    assert 0 == done.returncode, done.stdout + done.stderr
    assert "2 kills" in done.stdout.splitlines()[-1]
    assert "NOT TRUE" not in done.stdout
