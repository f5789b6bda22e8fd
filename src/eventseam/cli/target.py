"""Finds the app that `MODULE:FACTORY` names. Raises WiringError that says what is there instead, and the fix.

The name comes from the command line, never from a message. The current folder is searched first, as `python -m` does.
"""

from __future__ import annotations

import difflib
import importlib
import inspect
import sys
from pathlib import Path
from typing import TYPE_CHECKING, cast

from eventseam.errors import EventseamError, WiringError

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType

    from eventseam.app.app import App


def load_app(target: str) -> App:
    """The app of `module:factory`. Raises WiringError, or what the factory itself raised if it is an EventseamError."""
    from eventseam.app.app import App  # commands that only read the database start without it

    module_name, _, name = target.partition(":")
    found = _attribute(_module(module_name, name), name)
    if isinstance(found, App):
        return found
    app = _call(_factory(found, target), target)
    if not isinstance(app, App):
        raise WiringError(f"{target}() returned {_kind(app)}, not an App. End it with `return App(...)`.")
    return app


def _module(name: str, factory: str) -> ModuleType:
    """Import the module, looking in the current folder first."""
    folder = str(Path.cwd())
    if folder not in sys.path:
        sys.path.insert(0, folder)
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if name.endswith(".py") and error.name == name:
            right = name.removesuffix(".py")
            raise WiringError(f"{name}:{factory} names a file. Did you mean {right}:{factory}?") from error
        if error.name and (name == error.name or name.startswith(error.name + ".")):
            path = error.name.replace(".", "/")
            raise WiringError(
                f"there is no module '{error.name}'. Run this in the folder that holds {path}.py or {path}/, "
                "or install the package."
            ) from error
        raise WiringError(f"importing '{name}' failed: {error}. Install or correct what it imports.") from error
    except EventseamError:
        raise
    except Exception as error:
        raise WiringError(f"importing '{name}' failed: {_told(error)} Correct it; --debug shows where.") from error


def _attribute(module: ModuleType, name: str) -> object:
    """What the module calls `name`."""
    try:
        return cast("object", getattr(module, name))
    except AttributeError:
        near = difflib.get_close_matches(name, [each for each in vars(module) if not each.startswith("_")], n=1)
        hint = f"Did you mean {module.__name__}:{near[0]}?" if near else f"Define `def {name}() -> App` there."
        raise WiringError(f"module '{module.__name__}' has no '{name}'. {hint}") from None


def _factory(found: object, target: str) -> Callable[[], object]:
    """`found` as a function that can be called without arguments."""
    if not callable(found):
        raise WiringError(f"{target} is {_kind(found)}, not a function that returns an App. Name the function.")
    if inspect.iscoroutinefunction(found):
        raise WiringError(f"{target} is an `async def`. Make it a plain `def`: an app is built before any loop runs.")
    needed = [
        each.name
        for each in inspect.signature(found).parameters.values()
        if each.default is each.empty and each.kind not in (each.VAR_POSITIONAL, each.VAR_KEYWORD)
    ]
    if needed:
        raise WiringError(f"{target} needs arguments ({', '.join(needed)}). Give them defaults, or read the settings.")
    return found


def _call(factory: Callable[[], object], target: str) -> object:
    """Build the app."""
    try:
        return factory()
    except EventseamError:
        raise
    except Exception as error:
        raise WiringError(f"{target}() raised {_told(error)} Correct it; --debug shows where.") from error


def _told(error: Exception) -> str:
    """An error of the user's code in a few words."""
    return f"{type(error).__name__}: {error}".rstrip(": .") + "."


def _kind(value: object) -> str:
    """What a value is, in words."""
    return "None" if value is None else f"of type {type(value).__name__}"
