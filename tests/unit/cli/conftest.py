import gc
from collections.abc import Callable, Iterator

import pytest
from duebus.cli import main
from unit.client.fake_bus import FakeBus


@pytest.fixture(autouse=True)
def collector() -> Iterator[None]:
    """Restores the garbage collector, which a command turns off for the rest of its process."""
    yield
    gc.unfreeze()
    gc.enable()


@pytest.fixture
def bus() -> Iterator[FakeBus]:
    bus = FakeBus()
    yield bus
    bus.stop()


@pytest.fixture
def duebus(bus: FakeBus, monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """Runs a command against the bus, in this process: `duebus("topics", "--json")` is its status."""

    def run(*arguments: str) -> int:
        monkeypatch.setattr("sys.argv", ["duebus", "--server", bus.target, *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        return ended.value.code if isinstance(ended.value.code, int) else 1

    return run
