"""The how-to shows the example as it is."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).parent.parent.parent


def test_the_howto_shows_the_whole_example():
    example = (ROOT / "examples" / "folder_transport.py").read_text(encoding="utf-8")
    page = (ROOT / "docs" / "howto" / "write-a-transport.md").read_text(encoding="utf-8")
    assert f"```python\n# folder_transport.py\n{example}```\n" in page
    assert len(example.splitlines()) <= 200
