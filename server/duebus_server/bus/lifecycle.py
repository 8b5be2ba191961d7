"""Start and stop: no event is lost by either."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog

from duebus_server.bus.engines import Engines, EngineStatus, RunningEngine
from duebus_server.delivery.reaper import reap
from duebus_server.domain.errors import DispatcherNotWorking

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from duebus_server.domain.clock import Clock
    from duebus_server.domain.model import EngineName

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class StoppedEngine:
    """An engine that was drained: leases given back because they were not settled in time, and events it holds.

    What could not be found out, because the engine's storage was away, is 0.
    """

    engine: EngineName
    released: int
    queued: int


class Lifecycle:
    """Starts the engines, drains them, and says when none is left.

    Args:
        on_not_serving: called at once when the last engine begins to drain, so that no new work is sent here.
    """

    def __init__(
        self, engines: Engines, clock: Clock, sweep_interval_us: int, on_not_serving: Callable[[], Awaitable[None]]
    ) -> None:
        self._engines = engines
        self._clock = clock
        self._sweep_interval_us = sweep_interval_us
        self._on_not_serving = on_not_serving
        self._stops: dict[EngineName, asyncio.Task[StoppedEngine]] = {}
        self._reapers: dict[EngineName, asyncio.Task[None]] = {}
        self.all_stopped = asyncio.Event()
        """Set when no engine is left: the process has nothing more to do."""

    async def start(self) -> None:
        """Start every engine, and its safety net.

        Raises:
            DuplicateInitialized: one is started already.
        """
        for running in self._engines:
            await running.engine.start()
            sweep = reap(running.engine, self._clock, self._sweep_interval_us)
            self._reapers[running.engine.name] = asyncio.create_task(sweep, name=f"reap {running.engine.name}")

    async def abandon(self) -> None:
        """Let go of the engines without a drain: the server did not come up."""
        for running in self._engines:
            await running.engine.stop()

    async def stop(self, names: Sequence[EngineName], drain_timeout_us: int) -> list[StoppedEngine]:
        """Drain engines and stop them; none named is all. An engine that is stopping already is waited for.

        Raises:
            NoDispatcherSpecified: this server does not run one; then none is stopped.
        """
        chosen = [self._engines.get(name) for name in dict.fromkeys(names or self._engines.names())]
        for running in chosen:
            if running.engine.name not in self._stops:
                running.status = EngineStatus.DRAINING
                drain = self._drain(running, drain_timeout_us)
                self._stops[running.engine.name] = asyncio.create_task(drain, name=f"drain {running.engine.name}")
        if all(running.status is not EngineStatus.SERVING for running in self._engines):
            await self._on_not_serving()
        # Shielded: a caller that gives up does not end the drain.
        return [await asyncio.shield(self._stops[running.engine.name]) for running in chosen]

    async def _drain(self, running: RunningEngine, drain_timeout_us: int) -> StoppedEngine:
        name = running.engine.name
        log.info("draining", engine=name)
        released = queued = 0
        try:
            released = await running.sessions.drain(drain_timeout_us)
            queued = await running.engine.queued()
        except DispatcherNotWorking as error:  # its storage is away; that is no reason not to end
            log.warning("drained while the engine was away", engine=name, error=str(error))
        running.status = EngineStatus.STOPPED
        self._reapers[name].cancel()
        await running.engine.stop()
        log.info("stopped", engine=name, released=released, queued=queued)
        if all(one.status is EngineStatus.STOPPED for one in self._engines):
            self.all_stopped.set()
        return StoppedEngine(name, released, queued)
