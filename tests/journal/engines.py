"""Local engines with journals, for tests of what a disk can do to them."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from duebus_server.domain.clock import ManualClock, SystemClock
from duebus_server.domain.views import TopicConfig
from duebus_server.engine.local import LocalEngine
from duebus_server.engine.local.journal import Fsync, Journal
from duebus_server.engine.local.journal.segments import SEGMENT_BYTES
from support.engines import START_US, LocalHarness
from support.topics import TopicDriver

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from duebus_server.domain.errors import DispatcherNotWorking
    from duebus_server.engine.local.journal.disk import Disk


class JournaledEngine:
    """A started engine, and a topic of it.

    Attributes:
        failures: the errors that the journal reported of a disk that failed for good.
    """

    def __init__(
        self,
        path: Path,
        fsync: Fsync = Fsync.ALWAYS,
        *,
        disk: Disk | None = None,
        clock: ManualClock | SystemClock | None = None,
        segment_bytes: int = SEGMENT_BYTES,
        config: TopicConfig | None = None,
    ) -> None:
        self.failures: list[DispatcherNotWorking] = []
        self.clock = clock or ManualClock(START_US)
        journal = Journal(path, fsync, self.failures.append, disk=disk, segment_bytes=segment_bytes)
        self.engine = LocalEngine(self.clock, config or TopicConfig(), journal)
        harness = LocalHarness(TopicConfig())
        harness.engine = self.engine
        self.topic = TopicDriver(harness)
        self.topic.name = "topic"


@asynccontextmanager
async def opened(path: Path, fsync: Fsync = Fsync.ALWAYS, **named: object) -> AsyncIterator[JournaledEngine]:
    """An engine that is started and stopped."""
    made = JournaledEngine(path, fsync, **named)  # type: ignore[arg-type]  # as JournaledEngine has them
    await made.engine.start()
    try:
        yield made
    finally:
        await made.engine.stop()
