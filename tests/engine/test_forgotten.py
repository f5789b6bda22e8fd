"""A reader whose positions were deleted under it says so: it must not wait for ever for slots that nobody makes."""

from __future__ import annotations

import asyncio

import pytest

from eventseam import Ctx
from eventseam.errors import StorageError
from tests.support.file import query
from tests.support.run import make_app
from tests.support.talk import Said, ears, hear


async def test_a_reader_that_was_forgotten_while_it_runs_ends_with_an_error(tmp_path):
    service = ears()

    @service.on(Said)
    async def on_said(message: Said, ctx: Ctx) -> None:
        hear(ctx, message)

    app = make_app(tmp_path / "db", service)

    async def forget() -> None:
        async with app.running():
            await app.wait_idle()
            query(tmp_path / "db", "DELETE FROM positions WHERE reader = 'ears'")
            await asyncio.sleep(20)

    with pytest.raises(ExceptionGroup) as raised:
        await forget()
    error = raised.value.exceptions[0]
    while isinstance(error, ExceptionGroup):
        error = error.exceptions[0]
    assert isinstance(error, StorageError)
    assert "ears has no positions any more" in str(error)
