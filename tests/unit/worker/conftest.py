"""Workers on a fake bus, in an event loop with virtual time."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from support.fake_bus import FakeBus
from support.virtual_time import VirtualTimeLoop

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "real_time: the loop has the real clock, because threads or signals take part")


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    if item.get_closest_marker("real_time"):
        return {"real": asyncio.new_event_loop}
    return {"virtual": VirtualTimeLoop}


@pytest.fixture
async def bus() -> FakeBus:
    return FakeBus()
