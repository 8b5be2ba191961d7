from collections.abc import Iterator

import pytest
from unit.client.fake_bus import FakeBus


@pytest.fixture
def bus() -> Iterator[FakeBus]:
    bus = FakeBus()
    yield bus
    bus.stop()
