"""Starts and stops the engines. Neither loses an event."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog

from duebus_server.bus.engines import Engines, EngineStatus, RunningEngine
from duebus_server.delivery.reaper import reap
from duebus_server.domain.clock import MINUTE, SECOND, sleep_until
from duebus_server.domain.errors import DispatcherNotWorking, UnusableStorage

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from duebus_server.domain.clock import Clock
    from duebus_server.domain.model import EngineName
    from duebus_server.engine.base import Engine

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class StoppedEngine:
    """A drained engine: how many leases were released because they were not settled in time, and how many events it
    still holds. A number is 0 if the engine's storage could not be reached.
    """

    engine: EngineName
    released: int
    queued: int


FIRST_RETRY_US, GREATEST_RETRY_US = SECOND // 10, SECOND
"""The pause between attempts to start an engine whose storage is unavailable; it doubles each time."""

LOG_EVERY_US = MINUTE


class Lifecycle:
    """Starts the engines, drains them, and signals when the last one has stopped.

    Args:
        on_started: called with each engine that has started.
        on_not_serving: called when the last engine begins to drain: no new work should be sent here.
    """

    def __init__(
        self,
        engines: Engines,
        clock: Clock,
        sweep_interval_us: int,
        on_started: Callable[[Engine], None],
        on_not_serving: Callable[[], Awaitable[None]],
    ) -> None:
        self._engines = engines
        self._clock = clock
        self._sweep_interval_us = sweep_interval_us
        self._on_started = on_started
        self._on_not_serving = on_not_serving
        self._starts: dict[EngineName, asyncio.Task[None]] = {}
        self._stops: dict[EngineName, asyncio.Task[StoppedEngine]] = {}
        self._reapers: dict[EngineName, asyncio.Task[None]] = {}
        self._schedulers: dict[EngineName, asyncio.Task[None]] = {}
        self.all_stopped = asyncio.Event()
        """Set when the last engine has stopped, and the process can end."""

    async def start(self) -> None:
        """Start every engine and its sweeps. An engine whose storage is not available starts as soon as it is.

        Raises:
            DuplicateInitialized: one is already started.
            UnusableStorage: the storage of one can't be used by this server.
        """
        for running in self._engines:
            if not await self._start(running):
                starting = self._start_later(running)
                self._starts[running.engine.name] = asyncio.create_task(starting, name=f"start {running.engine.name}")

    @property
    def is_started(self) -> bool:
        """Whether no engine is still starting, and at least one serves."""
        statuses = {running.status for running in self._engines}
        return EngineStatus.SERVING in statuses and EngineStatus.STARTING not in statuses

    async def wait_started(self) -> None:
        """Return when every engine has started, or is to be stopped instead.

        Raises:
            UnusableStorage: as ``start``.
        """
        if self._starts:
            await asyncio.wait(self._starts.values(), return_when=asyncio.FIRST_EXCEPTION)
            for starting in self._starts.values():
                if starting.done() and not starting.cancelled():
                    starting.result()

    async def _start(self, running: RunningEngine) -> bool:
        """Start an engine, unless its storage is not available.

        Raises:
            UnusableStorage: it is, and can't be used.
        """
        try:
            await running.engine.start()
        except UnusableStorage:
            raise
        except DispatcherNotWorking as error:
            running.problem = str(error)
            return False
        if running.status is EngineStatus.STARTING:  # not to be stopped meanwhile
            self._on_started(running.engine)
            running.status = EngineStatus.SERVING
            name = running.engine.name
            sweep = reap(running.engine, self._clock, self._sweep_interval_us)
            self._reapers[name] = asyncio.create_task(sweep, name=f"reap {name}")
            self._schedulers[name] = asyncio.create_task(running.scheduler.run(), name=f"schedule {name}")
        return True

    async def _start_later(self, running: RunningEngine) -> None:
        """Try again until the storage is available.

        Raises:
            UnusableStorage: as ``_start``.
        """
        pause_us, log_us = FIRST_RETRY_US, self._clock.now_us()
        while running.status is EngineStatus.STARTING:
            if self._clock.now_us() >= log_us:
                log.warning("an engine is waiting for its storage", engine=running.engine.name, error=running.problem)
                log_us += LOG_EVERY_US
            await sleep_until(self._clock, self._clock.now_us() + pause_us)
            pause_us = min(2 * pause_us, GREATEST_RETRY_US)
            if await self._start(running):
                log.info("the storage of an engine is available", engine=running.engine.name)

    async def abandon(self) -> None:
        """Stop the engines without a drain, after a failed start."""
        for task in (*self._starts.values(), *self._reapers.values(), *self._schedulers.values()):
            task.cancel()
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

    async def _end_start(self, running: RunningEngine) -> None:
        """Stop trying to start an engine that waits for its storage."""
        starting = self._starts.get(running.engine.name)
        if starting is not None:
            starting.cancel()
            await asyncio.wait((starting,))

    async def _drain(self, running: RunningEngine, drain_timeout_us: int) -> StoppedEngine:
        name = running.engine.name
        await self._end_start(running)
        if name in self._schedulers:
            self._schedulers[name].cancel()
        log.info("draining", engine=name)
        released = queued = 0
        try:
            released = await running.streams.drain(drain_timeout_us)
            queued = await running.engine.queued()
        except DispatcherNotWorking as error:  # stop even if its storage can't be reached
            log.warning("drained while the engine's storage was unreachable", engine=name, error=str(error))
        running.status = EngineStatus.STOPPED
        if name in self._reapers:
            self._reapers[name].cancel()
        try:
            await running.engine.stop()
            log.info("stopped", engine=name, released=released, queued=queued)
        finally:  # whatever prevents an engine from closing its storage must not keep the process
            if all(one.status is EngineStatus.STOPPED for one in self._engines):
                self.all_stopped.set()
        return StoppedEngine(name, released, queued)
