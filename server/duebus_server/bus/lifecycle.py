"""Starts and stops the engines. Neither loses an event."""

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
    """A drained engine: how many leases were released because they were not settled in time, and how many events it
    still holds. A number is 0 if the engine's storage could not be reached.
    """

    engine: EngineName
    released: int
    queued: int


class Lifecycle:
    """Starts the engines, drains them, and signals when the last one has stopped.

    Args:
        on_not_serving: called when the last engine begins to drain: no new work should be sent here.
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
        """Set when the last engine has stopped, and the process can end."""

    async def start(self) -> None:
        """Start every engine and its sweeps.

        Raises:
            DuplicateInitialized: one is already started.
        """
        for running in self._engines:
            await running.engine.start()
            sweep = reap(running.engine, self._clock, self._sweep_interval_us)
            self._reapers[running.engine.name] = asyncio.create_task(sweep, name=f"reap {running.engine.name}")

    async def abandon(self) -> None:
        """Stop the engines without a drain, after a start that failed."""
        for running in self._engines:
            await running.engine.stop()

    async def stop(self, names: Sequence[EngineName], drain_timeout_us: int) -> list[StoppedEngine]:
        """Drain engines and stop them; all of them if none is named. Waits for an engine that is already stopping.

        Raises:
            NoDispatcherSpecified: this server does not run one of them; none is stopped.
        """
        chosen = [self._engines.get(name) for name in dict.fromkeys(names or self._engines.names())]
        for running in chosen:
            if running.engine.name not in self._stops:
                running.status = EngineStatus.DRAINING
                drain = self._drain(running, drain_timeout_us)
                self._stops[running.engine.name] = asyncio.create_task(drain, name=f"drain {running.engine.name}")
        if all(running.status is not EngineStatus.SERVING for running in self._engines):
            await self._on_not_serving()
        # Shielded: the drain continues if the caller gives up.
        return [await asyncio.shield(self._stops[running.engine.name]) for running in chosen]

    async def _drain(self, running: RunningEngine, drain_timeout_us: int) -> StoppedEngine:
        name = running.engine.name
        log.info("draining", engine=name)
        released = queued = 0
        try:
            released = await running.streams.drain(drain_timeout_us)
            queued = await running.engine.queued()
        except DispatcherNotWorking as error:  # stop even if its storage can't be reached
            log.warning("drained without the engine's storage", engine=name, error=str(error))
        running.status = EngineStatus.STOPPED
        self._reapers[name].cancel()
        await running.engine.stop()
        log.info("stopped", engine=name, released=released, queued=queued)
        if all(one.status is EngineStatus.STOPPED for one in self._engines):
            self.all_stopped.set()
        return StoppedEngine(name, released, queued)
