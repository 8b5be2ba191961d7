from collections.abc import AsyncIterator, Iterator

import pytest
from duebus.aio import Client
from unit.client.fake_bus import FakeBus


@pytest.fixture
def bus() -> Iterator[FakeBus]:
    bus = FakeBus()
    yield bus
    bus.stop()


@pytest.fixture
async def client(bus: FakeBus) -> AsyncIterator[Client]:
    async with Client(bus.target, timeout=10) as client:
        yield client
