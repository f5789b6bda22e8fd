"""The read model: revenue by state, of confirmed orders, exact to the last digit."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable

EARNED = """
SELECT sales.state, sales.amount FROM earned_sales JOIN sales USING (order_id)
WHERE sales.amount IS NOT NULL ORDER BY sales.state
"""


class Database(Protocol):
    """An open connection, of sqlite3 or of psycopg."""

    def execute(self, sql: str, /) -> Iterable[tuple[Any, ...]]:
        """The rows of one statement."""
        ...


def revenue_by_state(database: Database) -> dict[str, Decimal]:
    """Revenue of each state that has any, in the order of their names."""
    revenue: dict[str, Decimal] = {}
    for state, amount in database.execute(EARNED):
        revenue[state] = revenue.get(state, Decimal(0)) + Decimal(amount)
    return revenue
