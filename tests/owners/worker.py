"""One process of the service under test, as it is run by hand or by `stage`; it runs until it is ended.

Its handler draws numbers: each message (key, n) leaves one row in `seen`. Nothing but the inbox and the fence keeps it
from leaving two.
"""

from __future__ import annotations

import asyncio
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from eventseam import App, Channel, Circuit, Ctx, Retry, Service, Settings, SyncTx, Tx
from eventseam.errors import StorageUnavailable
from eventseam.storage import catalog
from tests.teeth.plants import reworded

if TYPE_CHECKING:
    from collections.abc import Iterator

numbers = Channel("numbers", key="key", plain="number.drawn")

TABLES = "CREATE TABLE IF NOT EXISTS seen (id bigserial PRIMARY KEY, key text NOT NULL, n bigint NOT NULL);"
SEEN = "INSERT INTO seen (key, n) VALUES ($1, $2)"
FORMS = ("record", "tx", "tx in a thread")
PATIENT = Retry(attempts=1_000, first_seconds=0.05, max_seconds=0.2)
STEADY = Circuit(failures=1_000_000)
"""What is tested here is who may apply, not how often."""
BUSY_SECONDS = 0.01
"""A process that is stopped has handlers at work, which decide when it wakes."""


@numbers.event("number.drawn")
class Drawn(Struct, frozen=True):
    """A number of a key; a key's numbers are drawn as 1, 2, 3, …"""

    key: str
    n: int


@dataclass(frozen=True)
class Plan:
    """How a process runs: its handler's form, its lease, which of the two locks it has, and what it reads.

    With `is_direct` writers are clients of the broker, else they write to the journal, which is relayed.
    """

    url: str
    form: str = "record"
    lease_seconds: float = 0.6
    inbox: bool = True
    fence: bool = True
    transport: str = "journal:"
    is_direct: bool = False


def drawing(form: str) -> Service[Any]:
    """The service, with its handler in a form."""
    service: Service[Any] = Service("draw", tables=TABLES)
    policies: dict[str, Any] = {"retry": PATIENT, "circuit": STEADY}
    if form == "record":

        @service.on(Drawn, **policies)
        async def draw(event: Drawn, ctx: Ctx) -> None:
            await asyncio.sleep(BUSY_SECONDS)
            ctx.write(SEEN, event.key, event.n)

    elif form == "tx":

        @service.on_tx(Drawn, **policies)
        async def draw(event: Drawn, tx: Tx) -> None:
            await tx.execute(SEEN, event.key, event.n)

    else:

        @service.on_tx(Drawn, **policies)
        def draw(event: Drawn, tx: SyncTx) -> None:
            tx.execute(SEEN, event.key, event.n)

    return service


@contextmanager
def locks_of(plan: Plan) -> Iterator[None]:
    """Turn off what the plan does not have, for stores that are opened inside the block."""
    with ExitStack() as stack:
        if not plan.inbox:
            ids = "SELECT id FROM unnest($1::text[]) AS each (id) WHERE coalesce($2, $3, $4) IS NOT NULL"
            stack.enter_context(reworded("claim_inbox", ids))
        if not plan.fence:
            honest = catalog.statements("postgresql")["fence"]
            assert "p.rev = f.rev" in honest
            stack.enter_context(reworded("fence", honest.replace("p.rev = f.rev", "f.rev IS NOT NULL")))
        yield


def app_of(plan: Plan) -> App:
    """The app of one process."""
    quick = Settings(durability="normal", lease_seconds=plan.lease_seconds, grace_seconds=0.5)
    settings = replace(quick, database=plan.url, transport=plan.transport)
    return App(drawing(plan.form), settings=settings)


async def serve(plan: Plan) -> None:
    """Run until the process is ended. One that stood still while it started is cut off, and is started again."""
    while True:
        with suppress(StorageUnavailable):
            async with app_of(plan).running():
                await asyncio.get_running_loop().create_future()
