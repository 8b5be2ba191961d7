"""Engines for tests: started, watched, with a clock that the test moves."""

from __future__ import annotations

from abc import ABC, abstractmethod
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from duebus_server.domain.clock import ManualClock
from duebus_server.domain.views import TopicConfig
from duebus_server.engine.local import LocalEngine
from duebus_server.engine.local.journal import Fsync, Journal

from support.recorder import Recorder

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from duebus_server.engine.base import Engine

START_US = 1_767_225_600_000_000
"""2026-01-01T00:00:00Z, where a manual clock starts."""


SEGMENT_BYTES = 4 << 10
"""The size of segments of a journal: so small that some are removed within a test."""


class Harness(ABC):
    """A started engine that no other test uses.

    Attributes:
        recorder: the watcher of the engine; it records what is reported.
        grain_us: how far apart two times must be for a test to tell them apart, in microseconds: 1 on a clock that
            stands still between two ``advance``, and more than a test lasts on a running clock.
        partitions: how many partitions the topics of tests have.
        can_restart: whether the engine keeps what it holds when it ends and starts again; see ``restart``.
    """

    grain_us: int = 1
    partitions: int = 1
    can_restart: bool = False

    def __init__(self, engine: Engine, recorder: Recorder) -> None:
        self.engine = engine
        self.recorder = recorder

    @abstractmethod
    async def advance(self, by_us: int) -> None:
        """Move the engine's clock forward."""

    async def restart(self) -> Engine:
        """End the engine, and start another one on what it has kept."""
        raise NotImplementedError

    @abstractmethod
    def unstarted(self) -> Engine:
        """Another engine of the same kind, not started, with its own data."""

    @abstractmethod
    async def next_due(self, topic: str, group: str) -> int | None:
        """When a group next has something to lease, as stored by the engine."""

    def now_us(self) -> int:
        """The engine's clock."""
        return self.engine.now_us()

    def near(self, expected_us: int) -> Callable[[int | None], bool]:
        """Whether a time is the expected one, as far as this engine's clock can be read."""
        return lambda at_us: at_us is not None and expected_us <= at_us < expected_us + self.grain_us


class LocalHarness(Harness):
    """The local engine on a manual clock.

    Args:
        config: the settings of topics.
        data_dir: where its journals are; None for an engine in memory.
        max_queued_bytes: as for ``LocalEngine``.
    """

    def __init__(self, config: TopicConfig, data_dir: Path | None = None, *, max_queued_bytes: int = 0) -> None:
        self.clock = ManualClock(START_US)
        self._max_queued_bytes = max_queued_bytes
        self._config = config
        self._data_dir = data_dir
        self._numbers = count(1)
        self.can_restart = data_dir is not None
        self._local = self._make(config, 0)
        super().__init__(self._local, Recorder(timeout_s=0))

    def _make(self, config: TopicConfig, number: int) -> LocalEngine:
        if self._data_dir is None:
            return LocalEngine(self.clock, config, max_queued_bytes=self._max_queued_bytes)
        path = self._data_dir / str(number)
        journal = Journal(path, Fsync.EVERYSEC, segment_bytes=SEGMENT_BYTES)
        return LocalEngine(self.clock, config, journal, max_queued_bytes=self._max_queued_bytes)

    async def restart(self) -> Engine:
        """End the engine, and start another one on its journal. No session is connected any more."""
        await self._local.stop()
        self.engine = self._local = self._make(self._config, 0)
        self._local.watch(self.recorder)
        await self._local.start()
        return self._local

    async def next_due(self, topic: str, group: str) -> int | None:
        """When the group next has something to lease, from the group itself."""
        members = self._local._topics.find_group(topic, group)
        return members.next_due() if members else None

    async def advance(self, by_us: int) -> None:
        """Move the engine's clock forward."""
        self.clock.advance(by_us)

    def unstarted(self) -> Engine:
        """Another engine of the same kind."""
        return self._make(TopicConfig(), next(self._numbers))


@asynccontextmanager
async def local(config: TopicConfig) -> AsyncIterator[Harness]:
    """A local engine in memory."""
    async with _started(LocalHarness(config)) as harness:
        yield harness


@asynccontextmanager
async def journaled(config: TopicConfig) -> AsyncIterator[LocalHarness]:
    """A local engine with a journal."""
    with TemporaryDirectory(prefix="duebus-") as path:
        async with _started(LocalHarness(config, Path(path))) as harness:
            yield harness


@asynccontextmanager
async def _started(harness: LocalHarness) -> AsyncIterator[LocalHarness]:
    harness.engine.watch(harness.recorder)
    await harness.engine.start()
    try:
        yield harness
    finally:
        await harness.engine.stop()
