"""The engines that this server runs, and whether they accept work."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from duebus_server.delivery.streams import Streams
from duebus_server.domain.clock import SECOND
from duebus_server.domain.errors import DispatcherNotWorking, DuplicateInitialized, NoDispatcherSpecified
from duebus_server.scheduling.scheduler import Scheduler

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from duebus_server.domain.clock import Clock
    from duebus_server.domain.model import EngineName
    from duebus_server.engine.base import Engine
    from duebus_server.scheduling.scheduler import Codec

RETRY_AFTER_US = SECOND


class EngineStatus(StrEnum):
    """What an engine accepts: STARTING -> SERVING -> DRAINING -> STOPPED. One that is starting can be drained too."""

    STARTING = "starting"
    """Nothing yet: its storage is not available."""
    SERVING = "serving"
    """Everything."""
    DRAINING = "draining"
    """Settles only."""
    STOPPED = "stopped"
    """Nothing."""


@dataclass(slots=True)
class RunningEngine:
    """An engine, its streams and schedules, and what it accepts.

    Attributes:
        scheduler: fires its schedules.
        problem: why it could not start at the last try, in one line.
    """

    engine: Engine
    streams: Streams
    scheduler: Scheduler
    status: EngineStatus = EngineStatus.STARTING
    problem: str = ""

    @classmethod
    def of(cls, engine: Engine, clock: Clock, codec: Codec, max_stream_age_us: int = 0) -> RunningEngine:
        """An engine that has not started, with its streams and its scheduler.

        Args:
            engine: the engine.
            clock: for timers.
            codec: reads schedules and makes their events.
            max_stream_age_us: as ``max_age_us`` of ``Streams``.
        """
        scheduler = Scheduler(engine, clock, codec)
        return cls(engine, Streams(engine, clock, scheduler.due, max_stream_age_us), scheduler)

    def not_serving(self) -> str | None:
        """Why it accepts no new work; None if it does."""
        if self.status is EngineStatus.SERVING:
            return None
        if self.status is EngineStatus.STARTING and self.problem:
            return self.problem
        return f"engine {self.engine.name} is {self.status}"


class Engines:
    """The engines by name; the first is the default.

    Raises:
        DuplicateInitialized: one is named twice.
    """

    def __init__(self, running: Iterable[RunningEngine]) -> None:
        self._running: dict[EngineName, RunningEngine] = {}
        for one in running:
            if one.engine.name in self._running:
                raise DuplicateInitialized(f"engine {one.engine.name} is started twice")
            self._running[one.engine.name] = one

    def __iter__(self) -> Iterator[RunningEngine]:
        return iter(self._running.values())

    def names(self) -> list[EngineName]:
        """The names of the engines, the default one first."""
        return list(self._running)

    def get(self, name: EngineName | None) -> RunningEngine:
        """The engine of this name; None is the default.

        Raises:
            NoDispatcherSpecified: this server does not run it.
        """
        name = name or next(iter(self._running))
        running = self._running.get(name)
        if running is None:
            runs = ", ".join(self._running)
            raise NoDispatcherSpecified(
                f"this server does not run the {name} engine; it runs: {runs}", metadata={"engine": name}
            )
        return running

    def find(self, name: EngineName) -> RunningEngine | None:
        """The engine of this name, if this server runs it."""
        return self._running.get(name)

    def serving(self, name: EngineName | None) -> RunningEngine:
        """The engine of this name, if it accepts new work; None is the default.

        Raises:
            NoDispatcherSpecified: this server does not run it.
            DispatcherNotWorking: it is starting, draining or stopped.
        """
        running = self.get(name)
        if (why := running.not_serving()) is not None:
            raise _not_working(running, why)
        return running

    def in_use(self, name: EngineName | None) -> RunningEngine:
        """The engine of this name, if it can be asked, also while it drains; None is the default.

        Raises:
            NoDispatcherSpecified: this server does not run it.
            DispatcherNotWorking: it is starting or stopped.
        """
        running = self.get(name)
        if running.status is EngineStatus.DRAINING:
            return running
        return self.serving(name)

    def check_started(self) -> None:
        """Return if every engine has started.

        Raises:
            DispatcherNotWorking: one has not.
        """
        for running in self:
            if running.status is EngineStatus.STARTING:
                raise _not_working(running, running.not_serving() or "")

    def all_serving(self, names: Sequence[EngineName]) -> list[RunningEngine]:
        """The engines of these names, each once; the default engine if none is named.

        Raises:
            NoDispatcherSpecified, DispatcherNotWorking: as ``serving``.
        """
        return [self.serving(name) for name in dict.fromkeys(names or (None,))]


def _not_working(running: RunningEngine, why: str) -> DispatcherNotWorking:
    return DispatcherNotWorking(why, metadata={"engine": running.engine.name}, retry_after_us=RETRY_AFTER_US)
