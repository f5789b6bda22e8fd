"""Orders of the same kind and in the same proportions as real ones, from a seed: the same seed, the same orders.

Chance is a hash of the seed and of what is drawn, so that it is the same on every machine and Python version.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from hashlib import blake2b
from typing import TypeVar

from eventseam.demo.data import Order
from eventseam.demo.shop.orders.contracts import Line, PlaceOrder

T = TypeVar("T")
Weighted = Sequence[tuple[T, int]]

# What 4,049 orders of a real marketplace looked like.
STATUS: Weighted[str] = (
    ("delivered", 2314), ("shipped", 539), ("processing", 242), ("invoiced", 193), ("created", 4), ("approved", 2),
    ("unavailable", 464), ("canceled", 291),
)  # fmt: skip
STATE: Weighted[str] = (
    ("SP", 1656), ("RJ", 584), ("MG", 460), ("RS", 220), ("PR", 188), ("BA", 155), ("SC", 154), ("GO", 92), ("DF", 70),
    ("ES", 70), ("PE", 67), ("CE", 54), ("PA", 40), ("MT", 33), ("MA", 32),
)  # fmt: skip
ITEMS: Weighted[int] = ((1, 3188), (2, 233), (3, 44), (4, 24), (5, 11), (6, 10))
ITEMS_IF_CANCELED: Weighted[int] = ((0, 74), (1, 217))
ITEMS_IF_UNAVAILABLE: Weighted[int] = ((0, 458), (1, 6))
PAYMENTS: Weighted[int] = ((0, 2), (1, 3886), (2, 106), (3, 57))
PRODUCTS = 2828


class Dice:
    """Chance for one order: every draw has a name and is independent of all others."""

    def __init__(self, seed: int, number: int) -> None:
        """For order `number` of the sequence that `seed` stands for."""
        self._start = f"{seed}/{number}"

    def below(self, limit: int, name: str) -> int:
        """A whole number from 0 to limit - 1."""
        return int.from_bytes(blake2b(f"{self._start}/{name}".encode(), digest_size=8).digest()) % limit

    def one_of(self, choices: Weighted[T], name: str) -> T:
        """One choice, as often as its weight says."""
        left = self.below(sum(weight for _, weight in choices), name)
        for choice, weight in choices:
            if left < weight:
                return choice
            left -= weight
        raise AssertionError("the weights add up")

    def hex(self, name: str) -> str:
        """32 hex digits, as ids of orders and customers have."""
        return blake2b(f"{self._start}/{name}".encode(), digest_size=16).hexdigest()


def generate(seed: int, count: int) -> list[Order]:
    """`count` orders, in the order of their purchase."""
    return [_order(Dice(seed, number)) for number in range(count)]


def _order(dice: Dice) -> Order:
    status = dice.one_of(STATUS, "status")
    items = {"canceled": ITEMS_IF_CANCELED, "unavailable": ITEMS_IF_UNAVAILABLE}.get(status, ITEMS)
    lines = tuple(_line(dice, n) for n in range(dice.one_of(items, "items")))
    due = sum((line.price for line in lines), Decimal("10.00"))  # with freight
    payments = _split(due, dice.one_of(PAYMENTS, "payments"))
    place = PlaceOrder(dice.hex("order"), dice.hex("customer"), dice.one_of(STATE, "state"), lines, payments)
    return Order(place, status)


def _line(dice: Dice, number: int) -> Line:
    cents = 500 + dice.below(10_000, f"price {number}") + dice.below(10_000, f"price {number} again")
    return Line(f"product-{dice.below(PRODUCTS, f'product {number}'):04}", Decimal(cents) / 100)


def _split(due: Decimal, parts: int) -> tuple[Decimal, ...]:
    """An amount paid in several payments that add up to it exactly."""
    if not parts:
        return ()
    part = (due / parts).quantize(Decimal("0.01"))
    return (*(part for _ in range(parts - 1)), due - part * (parts - 1))
