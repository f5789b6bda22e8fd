"""Runs the steps of one page (JSON on standard input) in the current folder; exits at the first that fails.

A script of its own, so that every page has a fresh interpreter and a `__main__` that is the reader's, not ours.
"""

from __future__ import annotations

import ast
import asyncio
import inspect
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType


def run_python(step: dict[str, str], module: ModuleType, runner: asyncio.Runner) -> None:
    if step["file"]:
        Path(step["file"]).parent.mkdir(parents=True, exist_ok=True)
        Path(step["file"]).write_text(step["python"], encoding="utf-8")
    source = "\n" * (int(step["line"]) - 1) + step["python"]  # so that a traceback names the page's own line
    code = compile(source, step["page"], "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True)
    result = eval(code, module.__dict__)
    if inspect.iscoroutine(result):
        runner.run(result)


def run_console(step: dict[str, object]) -> None:
    sys.stdout.flush()
    script = "\n".join(step["console"])
    done = subprocess.run(["sh", "-e", "-x", "-c", script], check=False, stdin=subprocess.DEVNULL)
    if done.returncode:
        sys.exit(f"{step['page']}:{step['line']}: exit code {done.returncode}")


def main() -> None:
    steps = json.load(sys.stdin)
    module = ModuleType("__main__")
    sys.modules["__main__"] = module
    sys.path.insert(0, str(Path.cwd()))
    with asyncio.Runner() as runner:
        for step in steps:
            if "python" in step:
                run_python(step, module, runner)
            else:
                run_console(step)


if __name__ == "__main__":
    main()
