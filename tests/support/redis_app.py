"""Whole servers of one bus in the test's own loop."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any

import grpc
from duebus_server.app import App
from duebus_server.config import Settings
from duebus_server.domain.clock import Clock, SystemClock
from duebus_server.domain.model import EngineName

from support.wire import Wire, connect

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from support.redis_bus import RedisBus


@asynccontextmanager
async def app_on(bus: RedisBus, clock: Clock | None = None, **settings: str) -> AsyncIterator[Wire]:
    """A server of the bus; ``sweep_interval="60s"`` keeps the safety net out of a test."""
    made = Settings(listen="127.0.0.1:0", engine=(EngineName.REDIS,), drain_timeout="0s", **settings)  # type: ignore[arg-type]  # as from the command line
    own = clock or SystemClock()
    app = App(made, own, [bus.make(own)])
    try:
        async with connect(await app.start()) as wire:
            yield wire
    finally:
        await app.stop()


async def until_accepted(call: Callable[..., Awaitable[Any]], *arguments: Any, timeout_s: float = 30) -> Any:
    """Repeat a call, as the clients do, while Redis is unreachable. Returns its result."""
    async with asyncio.timeout(timeout_s):
        while True:
            with suppress(grpc.aio.AioRpcError):
                return await call(*arguments)
            await asyncio.sleep(0.1)
