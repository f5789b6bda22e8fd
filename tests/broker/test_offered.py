"""A source whose slots somebody else shares out: it is asked for them also by who has none."""

from __future__ import annotations

from eventseam.app import room
from eventseam.journal.source import JournalSource
from tests.support import file
from tests.support.run import make_app, until
from tests.support.talk import Said, ears, on_loop


class Shared(JournalSource):
    """The slot is ours, is taken away once we have read, and is given back to who has asked for it three times."""

    has_read, asked = False, 0

    @property
    def offered(self):
        return set() if self.has_read and self.asked < 3 else {0}

    async def fetch(self, at, channels, limit):
        self.has_read = self.has_read or bool(at)
        self.asked += not at
        return await super().fetch(at, channels, limit)


async def test_who_has_lost_all_its_slots_asks_for_them_until_it_has_them_again(tmp_path, monkeypatch):
    place = tmp_path / "db"
    sources = []
    monkeypatch.setattr(room, "open_source", lambda *wired: sources.append(Shared(*wired)) or sources[-1])
    service = ears()
    on_loop(service, lambda message: None)
    async with make_app(place, service, lease_seconds=1.0).running() as app:
        await app.publish(service, *(Said("a", n) for n in range(10)))
        await until(lambda: sources[0].asked >= 3)
        await app.publish(service, *(Said("a", n) for n in range(10, 20)))
        await app.wait_idle(20)
    assert list(range(20)) == file.heard(place)
