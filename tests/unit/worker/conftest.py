"""Workers on a fake bus, in a loop whose clock jumps."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
from support.fake_bus import FakeBus
from support.virtual_time import VirtualTimeLoop

from duebus.worker import Worker

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping
    from contextlib import AbstractAsyncContextManager

Serve = "Callable[[Worker], AbstractAsyncContextManager[asyncio.Task[None]]]"


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "real_time: the test's loop has the real clock, because threads take part in it")


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    if item.get_closest_marker("real_time"):
        return {"real": asyncio.new_event_loop}
    return {"virtual": VirtualTimeLoop}


@pytest.fixture
async def bus() -> FakeBus:
    return FakeBus()


@pytest.fixture
def make_worker(bus: FakeBus) -> Callable[..., Worker]:
    def make(**settings: Any) -> Worker:
        return Worker(client=bus.client, **settings)

    return make


@pytest.fixture
def serving() -> Callable[[Worker], AbstractAsyncContextManager[asyncio.Task[None]]]:
    """Serves while the block runs; then the worker is stopped, and its error is raised, if there was one."""

    @asynccontextmanager
    async def serve(worker: Worker) -> AsyncIterator[asyncio.Task[None]]:
        task = asyncio.create_task(worker.serve())
        try:
            await worker.ready()
            yield task
        finally:
            worker.request_stop(now=True)
            await task

    return serve
