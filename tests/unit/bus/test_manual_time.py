"""``settle`` waits for what is due, and misses no change."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

from duebus_server.bus.manual_time import ManualTime
from duebus_server.domain.clock import ManualClock
from duebus_server.domain.states import EventState

if TYPE_CHECKING:
    from duebus_server.engine.watcher import Watcher


class Engine:
    """Its only lease ends while its topics are listed, as listing them lets other tasks run."""

    def __init__(self) -> None:
        self._leased = 1
        self._watcher: Watcher | None = None

    def watch(self, watcher: Watcher) -> None:
        self._watcher = watcher

    async def expire_leases(self) -> None:
        """Nothing runs out."""

    async def list_topics(self, _after: str, _limit: int) -> list[Any]:
        counts = {EventState.READY: 0, EventState.LEASED: self._leased}
        if self._leased and self._watcher is not None:
            self._leased = 0
            self._watcher.leases_ended("session", [1])
        group = SimpleNamespace(group="default", subscribers=["one"], counts=counts)
        return [SimpleNamespace(topic="orders", groups=[group])]


async def test_a_lease_that_ends_while_settle_looks_is_not_missed() -> None:
    streams = SimpleNamespace(leases_ended=lambda *_: None)
    running = SimpleNamespace(engine=Engine(), streams=streams)

    await ManualTime(ManualClock(0), cast("Any", running)).settle(timeout_s=5)
