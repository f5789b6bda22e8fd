"""Every block of the documentation runs as printed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import pytest

from tests.docs import snippets

RUNNER = Path(__file__).with_name("page_runner.py")
PAGES = snippets.pages()


def run_page(text: str, page: str, folder: Path, *, timeout_seconds: float = 170) -> subprocess.CompletedProcess[str]:
    steps = snippets.steps(snippets.blocks(dedent(text), page), snippets.make_targets())
    scripts = str(Path(sys.executable).parent)
    return subprocess.run(
        [sys.executable, "-W", "error", str(RUNNER)],
        input=json.dumps(steps),
        cwd=folder,
        env={**os.environ, "PATH": scripts + os.pathsep + os.environ["PATH"], "COLUMNS": "120"},
        capture_output=True,
        text=True,
        timeout=timeout_seconds,
        check=False,
    )


@pytest.mark.timeout(180)
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(snippets.ROOT).as_posix())
def test_every_block_of_the_page_runs(page, tmp_path):
    done = run_page(page.read_text(encoding="utf-8"), page.relative_to(snippets.ROOT).as_posix(), tmp_path)
    assert 0 == done.returncode, done.stdout + done.stderr


SAMPLE = """
    # A page

    ```python
    # shop.py
    from dataclasses import dataclass

    @dataclass
    class Order:
        id: str
    ```

    ```python
    import asyncio, typing
    await asyncio.sleep(0)
    assert {"id": str} == typing.get_type_hints(Order)
    ```

    ```console
    $ python -c 'import shop; print(shop.Order("o1"))' \\
      > order.txt
    Order(id='o1')
    $ make test ARGS="-x"
    ```

    ```python
    with open("order.txt", encoding="utf-8") as order:
        assert "Order(id='o1')\\n" == order.read()
    ```

    <!-- not-run: it never ends -->

    ```console
    $ tail -f log
    ```

    ```sql
    SELECT 1;
    ```
    """


def test_blocks_of_a_page_share_their_names_and_their_folder(tmp_path):
    done = run_page(SAMPLE, "sample.md", tmp_path)
    assert 0 == done.returncode, done.stderr
    assert (tmp_path / "shop.py").is_file()


def test_blocks_that_do_not_run_are_listed_with_their_reason():
    found = snippets.blocks(dedent(SAMPLE), "sample.md")
    assert ["it never ends"] == [block.not_run for block in found if block.not_run]
    assert ["python", "python", "console", "python"] == [block.language for block in found if block.runs]


def test_a_failing_python_block_fails_its_page_and_names_the_line(tmp_path):
    done = run_page("# Page\n\n```python\nx = 1\nassert x == 2\n```\n", "sample.md", tmp_path)
    assert 0 != done.returncode
    assert 'File "sample.md", line 5' in done.stderr


def test_a_failing_command_fails_its_page_and_names_the_block(tmp_path):
    done = run_page("```console\n$ python -c 'raise SystemExit(3)'\n$ echo on\n```\n", "sample.md", tmp_path)
    assert 0 != done.returncode
    assert "sample.md:2: exit code 3" in done.stderr


@pytest.mark.parametrize(
    "text, finding",
    [
        ("```console\n$ docker run x\n```\n", "`docker run x` is not run here"),
        ("```console\n$ make tea\n```\n", "no such target: tea"),
        ("```python\nx = 1\n", "never closes"),
    ],
)
def test_a_block_that_can_be_neither_run_nor_read_is_an_error(text, finding):
    with pytest.raises(snippets.PageError, match=finding):
        snippets.steps(snippets.blocks(text, "sample.md"), snippets.make_targets())


def test_the_summary_counts_what_did_not_run(tmp_path):
    (tmp_path / "README.md").write_text(dedent(SAMPLE), encoding="utf-8")
    assert "docs: 4 blocks run, 1 not\n  - README.md:34: it never ends" == snippets.summary(tmp_path)
