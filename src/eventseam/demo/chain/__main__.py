"""The chain's own process: reads what to do on stdin, tells on stdout how it goes, one JSON document a line.

It ends when all orders are offered, or when stdin closes: a demo that was killed leaves no servers behind.
"""

from __future__ import annotations

import os
import sys
import threading
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from eventseam.clock import SystemClock
from eventseam.demo.chain.http import Peer, ServiceDown
from eventseam.demo.chain.progress import Progress, Task
from eventseam.demo.chain.services import OK, chain, decode
from eventseam.demo.options import Options
from eventseam.demo.outside import Outside, opened
from eventseam.demo.shop.orders.contracts import OrderRejected, PlaceOrder

if TYPE_CHECKING:
    from collections.abc import Iterator

CUSTOMERS = 16
TELL_SECONDS = 0.2


class Customers:
    """Threads that place orders one after the other, in purchase order, each at its time."""

    def __init__(self, orders: Peer, outside: Outside, left: list[PlaceOrder], rate: float) -> None:
        """Offer what is `left`, `rate` a second."""
        self._orders = orders
        self._outside = outside
        self._clock = SystemClock()
        self._start = self._clock.monotonic()
        self._line: Iterator[tuple[float, PlaceOrder]] = iter([(n / rate, order) for n, order in enumerate(left)])
        self._lock = threading.Lock()
        self._pause = threading.Event()
        self._threads = [threading.Thread(target=self._work, daemon=True) for _ in range(CUSTOMERS)]

    def start(self) -> None:
        """Let them come."""
        for thread in self._threads:
            thread.start()

    @property
    def are_served(self) -> bool:
        """Whether everybody has an answer."""
        return not any(thread.is_alive() for thread in self._threads)

    def _work(self) -> None:
        while True:
            with self._lock:  # the next in the line leaves it at its time, so that nobody overtakes
                due, order = next(self._line, (0.0, None))
                self._pause.wait(max(0.0, self._start + due - self._clock.monotonic()))
            if order is None:
                return
            self._outside.answer(order.order_id, self._place(order))

    def _place(self, order: PlaceOrder) -> str:
        """What the customer is told: confirmed, why it is rejected, or "failed"."""
        try:
            reply = self._orders.post("/place", order)
        except ServiceDown:
            return "failed"
        return "confirmed" if reply.status == OK else decode(reply.body, type=OrderRejected).reason


def main() -> None:
    """Run the task on stdin."""
    task = decode(sys.stdin.readline(), type=Task)
    offered = Options(data=Path(task.data) if task.data else None, seed=task.seed, orders=task.orders).load()
    with opened(task.outside) as outside, chain(outside) as first:
        threading.Thread(target=end_with_stdin, daemon=True).start()
        answered = outside.answers()
        left = [order.place for order in offered if order.place.order_id not in answered]
        customers = Customers(first, outside, left, task.rate)
        customers.start()
        pause = threading.Event()
        while not customers.are_served:
            pause.wait(TELL_SECONDS)
            tell(outside)
        tell(outside, done=True)


def tell(outside: Outside, *, done: bool = False) -> None:
    """One line about how it goes."""
    counts = Counter(outside.answers().values())
    progress = Progress(
        counts["confirmed"], counts["items unavailable"], counts["payment failed"], counts["failed"], done
    )
    sys.stdout.buffer.write(msgspec.json.encode(progress) + b"\n")
    sys.stdout.flush()


def end_with_stdin() -> None:
    """End this process when whoever started it is gone."""
    sys.stdin.read()
    os._exit(0)


if __name__ == "__main__":
    main()
