"""A service knows of another one nothing but its contracts."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import eventseam.demo.shop

SHOP = Path(eventseam.demo.shop.__file__).parent
PREFIX = "eventseam.demo."
SERVICES = ["analytics", "email", "inventory", "orders", "payments", "shipping"]


def imports(tree: ast.Module) -> set[str]:
    """Every module that a module names, as `from package.module import name` or `import package.module`."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            assert not node.level, "imports here are absolute"
            found.add(node.module or "")
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return found


def forbidden(service: str, tree: ast.Module) -> set[str]:
    """The demo's modules that `service` must not see."""
    allowed = {f"{PREFIX}shop.{other}.contracts" for other in SERVICES} | {f"{PREFIX}outside", f"{PREFIX}shop.tables"}
    own = f"{PREFIX}shop.{service}"
    ours = {name for name in imports(tree) if name.startswith(PREFIX)}
    return {name for name in ours - allowed if name != own and not name.startswith(own + ".")}


def test_there_are_six_services_each_with_a_service_module():
    assert SERVICES == sorted(path.parent.name for path in SHOP.glob("*/service.py"))


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_imports_nothing_of_another_but_its_contracts(service):
    files = sorted((SHOP / service).glob("**/*.py"))
    assert {} == {path.name: bad for path in files if (bad := forbidden(service, ast.parse(path.read_text())))}


@pytest.mark.parametrize("service", SERVICES)
def test_contracts_import_no_handler_and_no_outside(service):
    path = SHOP / service / "contracts.py"
    names = imports(ast.parse(path.read_text())) if path.exists() else set()
    assert {} == {name: path.name for name in names if name.startswith(PREFIX) and not name.endswith(".contracts")}


@pytest.mark.parametrize(
    "line",
    [
        "from eventseam.demo.shop.orders.service import place",
        "from eventseam.demo.shop.orders.rules import placed",
        "import eventseam.demo.shop.orders.service",
        "from eventseam.demo.shop import orders",
        "from eventseam.demo.app import create",
    ],
)
def test_a_planted_import_is_found(line):
    assert 1 == len(forbidden("payments", ast.parse(line)))


def test_tables_of_different_services_have_different_names():
    tables = [line.split()[5] for path in SHOP.glob("*/service.py") for line in path.read_text().splitlines()
              if line.startswith("CREATE TABLE IF NOT EXISTS")]  # fmt: skip
    assert len(tables) == len(set(tables))
    assert 11 <= len(tables)


def test_no_service_names_a_table_of_another():
    texts = {path.parent.name: path.read_text() for path in SHOP.glob("*/service.py")}
    owner = {line.split()[5]: service for service, text in texts.items() for line in text.splitlines()
             if line.startswith("CREATE TABLE IF NOT EXISTS")}  # fmt: skip
    for service, text in texts.items():
        for table, owned_by in owner.items():
            statements = (f"INTO {table} ", f"FROM {table} ", f"UPDATE {table} ")
            assert owned_by == service or not any(statement in text for statement in statements)
