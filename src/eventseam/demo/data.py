"""Real orders from CSV files, and the rules by which anyone can recompute what becomes of each.

Nothing is lost and nothing guessed: a file, column or number that cannot be read is a DataError naming the line.
"""

from __future__ import annotations

import csv
from collections import defaultdict
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Literal, TypeVar

from eventseam.demo.shop.orders.contracts import Line, PlaceOrder
from eventseam.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

T = TypeVar("T")

Outcome = Literal["confirmed", "items unavailable", "payment failed"]

UNKNOWN_STATE = "unknown"
"""The state of a customer who is not in customers.csv."""


class DataError(SettingsError):
    """The orders cannot be read. The message names file, line and column."""


@dataclass(frozen=True, slots=True)
class Order:
    """What a customer places, and the status by which the warehouse and the card gateway will answer."""

    place: PlaceOrder
    status: str

    @property
    def outcome(self) -> Outcome:
        """What must become of it, by the rules alone; no service reads this."""
        if not self.place.lines or self.status == "unavailable":
            return "items unavailable"
        if not self.place.payments or self.status == "canceled":
            return "payment failed"
        return "confirmed"


def load(folder: Path) -> list[Order]:
    """All orders of a folder, in purchase order (then by id). Raises DataError."""
    lines = _grouped(folder / "items.csv", "order_id", _line)
    payments = _grouped(folder / "payments.csv", "order_id", lambda row: row.decimal("payment_value"))
    states = {row["customer_id"]: row["customer_state"] for row in _rows(folder / "customers.csv")}
    orders: dict[str, tuple[str, Order]] = {}
    for row in _rows(folder / "orders.csv"):
        order_id, customer_id = row["order_id"], row["customer_id"]
        if not order_id or order_id in orders:
            raise row.error("order_id", f"is {order_id!r}, which is empty or taken by an earlier line")
        state = states.get(customer_id) or UNKNOWN_STATE
        place = PlaceOrder(order_id, customer_id, state, tuple(lines[order_id]), tuple(payments[order_id]))
        orders[order_id] = (row["order_purchase_timestamp"], Order(place, row["order_status"]))
    return [order for _, order in sorted(orders.values(), key=lambda each: (each[0], each[1].place.order_id))]


class _Row:
    """One line of a file, which knows where it stands."""

    def __init__(self, path: Path, line: int, cells: dict[str, str]) -> None:
        self._path = path
        self._line = line
        self._cells = cells

    def __getitem__(self, column: str) -> str:
        cell = self._cells.get(column)
        if cell is None:
            raise self.error(column, "is missing")
        return cell

    def decimal(self, column: str) -> Decimal:
        """An amount, digit for digit."""
        try:
            amount = Decimal(self[column])
        except InvalidOperation:
            raise self.error(column, f"is {self[column]!r}, which is no amount") from None
        if not amount.is_finite():
            raise self.error(column, f"is {amount}, which is no amount")
        return amount

    def error(self, column: str, what: str) -> DataError:
        return DataError(f"{self._path}, line {self._line}: {column} {what}. Correct the line, or leave it out.")


def _line(row: _Row) -> Line:
    return Line(row["product_id"], row.decimal("price"))


def _rows(path: Path) -> Iterator[_Row]:
    try:
        with path.open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file, restval=None)
            yield from (_Row(path, reader.line_num, cells) for cells in reader)
    except FileNotFoundError:
        raise DataError(
            f"{path} is not there. --data needs orders, items, payments and customers, each .csv."
        ) from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path} is no CSV file in UTF-8: {error}") from error


def _grouped(path: Path, column: str, read: Callable[[_Row], T]) -> defaultdict[str, list[T]]:
    found: defaultdict[str, list[T]] = defaultdict(list)
    for row in _rows(path):
        found[row[column]].append(read(row))
    return found
