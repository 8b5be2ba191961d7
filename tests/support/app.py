"""A whole server in the test's own loop, behind a real socket, with a clock that the test moves."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from duebus_server.app import App
from duebus_server.config import Settings
from duebus_server.domain.clock import HOUR, ManualClock
from duebus_server.domain.model import EngineName
from duebus_server.engine.local import LocalEngine

from support.engines import START_US
from support.wire import connect
from support.workers import settle_down

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from duebus_server.delivery.streams import Streams

    from support.wire import Wire


class OwnApp:
    """A server of the test's own.

    Attributes:
        clock: drives all its timers.
        engine: its engine.
    """

    def __init__(self, **settings: str) -> None:
        made = Settings(listen="127.0.0.1:0", **settings)  # type: ignore[arg-type]  # as from the command line
        self.clock = ManualClock(START_US)
        self.engine = LocalEngine(self.clock, made.topic_config(EngineName.LOCAL))
        self.app = App(made, self.clock, [self.engine])
        self.address = ""

    @property
    def streams(self) -> Streams:
        watcher: Streams = self.app.watcher(EngineName.LOCAL)  # type: ignore[assignment]  # what it is on local
        return watcher

    async def start(self) -> None:
        self.address = await self.app.start()

    async def advance(self, by_us: int) -> None:
        """Move the clock forward, and let the server act on it."""
        self.clock.advance(by_us)
        await settle_down()

    async def close(self) -> None:
        """Stop at once, without waiting for a drain."""
        stopping = asyncio.create_task(self.app.stop())
        await settle_down()
        self.clock.advance(HOUR)
        await stopping


@asynccontextmanager
async def own_app(**settings: str) -> AsyncIterator[tuple[OwnApp, Wire]]:
    """A started server, and a client of it; settings as on the command line, such as ``lease="5s"``."""
    own = OwnApp(**settings)
    await own.start()
    try:
        async with connect(own.address) as wire:
            yield own, wire
    finally:
        await own.close()
