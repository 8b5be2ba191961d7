"""Puts the server together. The only module that sees every layer."""

from __future__ import annotations

import asyncio
import os
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NoReturn

import structlog

from duebus_server.bus.actions import Actions
from duebus_server.bus.administering import Administering
from duebus_server.bus.dispatching import Dispatching
from duebus_server.bus.engines import Engines, RunningEngine
from duebus_server.bus.lifecycle import Lifecycle
from duebus_server.bus.manual_time import ManualTime
from duebus_server.bus.pulling import Pulling
from duebus_server.bus.scaling import Scaling
from duebus_server.bus.scheduling import Scheduling
from duebus_server.bus.settling import Settling
from duebus_server.bus.subscribing import Subscribing
from duebus_server.components import (
    certificate_files,
    make_access,
    make_audit,
    make_certificates,
    make_metrics,
    make_observers,
)
from duebus_server.domain.clock import MovableClock
from duebus_server.domain.errors import DispatcherNotWorking
from duebus_server.domain.lease_token import LeaseTokens
from duebus_server.domain.model import EngineName
from duebus_server.engine.instrumented import InstrumentedEngine
from duebus_server.ops.http import HttpPort
from duebus_server.ops.probes import probes
from duebus_server.ops.reports import ALIVE, METRICS, READY, answer_parent
from duebus_server.ops.tracing import make_tracing
from duebus_server.web.app import web_app
from duebus_server.web.calls import Calls
from duebus_server.web.live import Live
from duebus_server.web.tls import tls_context
from duebus_server.wire.admin import EventBusAdminServicer
from duebus_server.wire.authorization import Authorizer
from duebus_server.wire.event_bus import EventBusServicer
from duebus_server.wire.grpc_server import ServerEndedError
from duebus_server.wire.guard import Guard
from duebus_server.wire.scaler import ScalerServicer
from duebus_server.wire.schedule_codec import ScheduleCodec
from duebus_server.wire.schedules import EventBusSchedulesServicer
from duebus_server.wire.server import ADMIN, EVENT_BUS, SCALER, SCHEDULES, TEST_CLOCK, Limits, WireServer
from duebus_server.wire.status import code_of
from duebus_server.wire.test_clock import TestClockServicer

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Sequence

    from duebus_server.config import Settings
    from duebus_server.domain.clock import Clock, ManualClock
    from duebus_server.engine.base import Engine
    from duebus_server.engine.watcher import Watcher
    from duebus_server.ops.reports import Answer
    from duebus_server.security.certificates import Certificates
    from duebus_server.security.reloading import Reloading

log = structlog.get_logger()

STOP_GRACE_S = 5.0
"""How long, after the drain, answers that are still being sent may take, including that of Stop itself."""

GIVE_UP_S = 1.0
"""How long a server that no longer accepts calls may take to release its leases."""

READY_S = 0.8
"""An engine that takes longer to answer is not ready; probes wait a second by default."""

LOOPBACK = ("127.0.0.1:", "localhost:", "[::1]:")


class App:
    """One server process: engines, use cases and the wire.

    Args:
        settings: the server's settings; ``engines`` replaces ``settings.engine``.
        clock: drives all timers; tests pass one that they move.
        engines: not yet started; the first is the default.
        parent: the socket to the process that started this one and others, which listen on the same addresses; None if
            this one runs alone.
        failed: raises when an engine has failed for good, which ends the server.

    Raises:
        SettingsError: a file that a setting names can't be used.
    """

    def __init__(
        self,
        settings: Settings,
        clock: Clock,
        engines: Sequence[Engine],
        *,
        parent: socket.socket | None = None,
        failed: asyncio.Future[None] | None = None,
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._failed = failed
        self._tracing = make_tracing(os.environ, code_of)
        self._metrics = make_metrics(settings, self._tracing)
        if self._metrics is not None:
            engines = [InstrumentedEngine(engine, self._metrics) for engine in engines]
            self._metrics.watch(engines)
        self._codec = ScheduleCodec()
        self._engines = Engines(
            RunningEngine.of(engine, clock, self._codec, settings.max_stream_age) for engine in engines
        )
        self._token_keys: dict[EngineName, bytes] = {}
        self._tokens = LeaseTokens(self._token_keys)
        self.lifecycle = Lifecycle(
            self._engines, clock, settings.sweep_interval, self._engine_started, self._not_serving
        )
        self._access = make_access(settings)
        self._actions = Actions(self._engines)
        keep = None if settings.web_listen is None else self._actions.keep  # only the dashboard shows them
        authorizer = Authorizer(self._access, make_audit(settings), settings.max_streams_per_connection, keep)
        observers = make_observers(self._metrics, self._tracing)
        certificates = make_certificates(settings)
        servicers = self._make_servicers()
        self._wire = WireServer(
            [*servicers, (SCALER, ScalerServicer(Scaling(self._engines)))],
            Guard(authorizer, **observers),
            Limits(
                settings.max_message_size,
                settings.max_streams_per_connection,
                parent is not None,
                settings.max_stream_age,
            ),
            certificates,
        )
        self._parent = parent
        self._web = None
        if settings.web_listen is not None:
            calls = Calls(servicers, authorizer, settings.max_message_size, **observers)
            self._web = self._make_web(calls, certificates, settings.web_listen)
        self._starting: asyncio.Task[None] | None = None
        self._answering: asyncio.Task[None] | None = None
        self._http = None
        if self._metrics is not None and parent is None:
            self._http = HttpPort(probes(self._wire.not_listening, self._not_ready, self._metrics.scrape))

    def _make_servicers(self) -> list[tuple[Any, object]]:
        """What serves each service, over gRPC and over HTTP."""
        settings, engines = self._settings, self._engines
        default = engines.names()[0]
        dispatching = Dispatching(engines)
        event_bus = EventBusServicer(
            dispatching,
            Subscribing(engines, self._tokens, settings.disconnect_grace),
            Settling(engines, self._tokens),
            self.lifecycle,
            settings.drain_timeout,
            settings.max_message_size,
            self._clock.now_us,
        )
        admin = EventBusAdminServicer(Administering(engines), default, self._clock.now_us)
        scheduling = Scheduling(engines, dispatching, self._codec, settings.max_schedules)
        servicers: list[tuple[Any, object]] = [
            (EVENT_BUS, event_bus),
            (ADMIN, admin),
            (SCHEDULES, EventBusSchedulesServicer(scheduling, default)),
        ]
        if isinstance(self._clock, MovableClock):
            servicers.append((TEST_CLOCK, TestClockServicer(self.manual_time(self._clock))))
        return servicers

    def _make_web(self, calls: Calls, certificates: Reloading[Certificates] | None, listen: str) -> HttpPort:
        """The port of the dashboard and of calls over HTTP."""
        app = web_app(
            calls,
            Pulling(self._engines, self._tokens),
            Live(self._engines),
            self._engines,
            self._actions,
            on_loopback=listen.startswith(LOOPBACK),
        )
        files = certificate_files(self._settings)
        tls = None if files is None or certificates is None else tls_context(files, certificates)
        return HttpPort(app, "web", tls, shares_port=self._parent is not None)

    def manual_time(self, clock: ManualClock | MovableClock) -> ManualTime:
        """Lets a test move the clock of the local engine. Called at most once."""
        return ManualTime(clock, self._engines.get(EngineName.LOCAL))

    def watcher(self, engine: EngineName) -> Watcher:
        """The watcher of an engine, for callers that wrap it."""
        return self._engines.get(engine).streams

    async def start(self, announce: Callable[[str], None] | None = None) -> str:
        """Start the engines and listen. An engine whose storage is not available starts as soon as it is.

        Args:
            announce: called with HOST:PORT once all engines serve.

        Returns:
            HOST:PORT, with the port that is in use.

        Raises:
            PortInUseError, HttpListenError: an address can't be listened on.
            UnusableStorage: the storage of an engine can't be used by this server.
        """
        await self.lifecycle.start()
        host = self._settings.listen.rpartition(":")[0]
        if self._http is not None and self._settings.http_listen is not None:
            await self._http.start(self._settings.http_listen)
        if self._web is not None and self._settings.web_listen is not None:
            await self._web.start(self._settings.web_listen)
        port = await self._wire.start(self._settings.listen, self._settings.health_listen)
        if self._parent is not None and self._metrics is not None:
            answers: dict[str, Answer] = {
                ALIVE: self._wire.not_listening,
                READY: self._not_ready,
                METRICS: self._metrics.report,
            }
            self._answering = await answer_parent(self._parent, answers)
        self._warn_of_exposure()
        address = f"{host}:{port}"
        self._starting = asyncio.create_task(self._serve(address, announce), name="start")
        if self.lifecycle.is_started:
            await self._starting
        return address

    async def _serve(self, address: str, announce: Callable[[str], None] | None) -> None:
        """Report that new work is accepted, once all engines serve.

        Raises:
            UnusableStorage: as ``start``.
        """
        await self.lifecycle.wait_started()
        if self.lifecycle.is_started:
            await self._wire.serving()
            if announce is not None:
                announce(address)

    def _engine_started(self, engine: Engine) -> None:
        self._token_keys[engine.name] = engine.lease_token_key

    async def stop(self) -> None:
        """Drain all engines and end."""
        await self.drain()
        await self.wait_stopped()

    async def drain(self) -> None:
        """Drain all engines and stop them. ``wait_stopped`` then returns."""
        await self.lifecycle.stop([], self._settings.drain_timeout)

    async def wait_stopped(self) -> None:
        """Return when every engine has been stopped and the last answers are sent.

        Raises:
            UnusableStorage: an engine could not start: its storage became available, but can't be used.
            DispatcherNotWorking: an engine has failed for good.
            ServerEndedError: the server stopped accepting calls without being asked to.
        """
        ended = asyncio.create_task(self._wire.ended())
        stopped = asyncio.create_task(self.lifecycle.all_stopped.wait())
        failed = await self._failure((ended, stopped))
        ended.cancel()
        if failed is not None:
            await self.lifecycle.stop([], 0)
        elif not stopped.done():
            stopped.cancel()
            await self._give_up()
        await self._wire.stop(STOP_GRACE_S)
        await self.close_http()
        if self._tracing is not None:
            await asyncio.to_thread(self._tracing.stop)
        if failed is not None:
            raise failed

    async def _failure(self, ends: Sequence[asyncio.Task[Any]]) -> BaseException | None:
        """Return when one of ``ends`` is done, or what an engine has failed with before, at its start or later."""
        watched: set[asyncio.Future[None]] = {each for each in (self._starting, self._failed) if each is not None}
        while not any(end.done() for end in ends):
            await asyncio.wait((*ends, *watched), return_when=asyncio.FIRST_COMPLETED)
            done = {each for each in watched if each.done()}
            watched -= done
            for each in done:
                if (failure := each.exception()) is not None:
                    return failure
        return None

    async def _give_up(self) -> NoReturn:
        """End a server that no longer accepts calls. Leases are released first if the engines answer in time."""
        log.error("the server no longer accepts calls and shuts down")
        with suppress(TimeoutError):
            async with asyncio.timeout(GIVE_UP_S):
                await self.lifecycle.stop([], 0)
        raise ServerEndedError("the server stopped accepting calls; its log says why")

    @property
    def is_open(self) -> bool:
        """Whether callers need no credentials."""
        return self._access.is_open

    @property
    def web_url(self) -> str | None:
        """Where the bus is served over HTTP; None if it isn't."""
        return None if self._web is None else self._web.url

    async def close_http(self) -> None:
        """Stop serving HTTP, and answering the parent; does nothing if it was not started."""
        for port in (self._web, self._http):
            if port is not None:
                await port.stop()
        if self._answering is not None:
            self._answering.cancel()

    async def _not_serving(self) -> None:
        await self._wire.not_serving()

    async def _not_ready(self) -> str | None:
        """Why this server can't take work; None if it can."""
        if (reason := await self._wire.not_listening()) is not None:
            return reason
        for running in self._engines:
            name = running.engine.name
            if (why := running.not_serving()) is not None:
                return why
            try:
                async with asyncio.timeout(READY_S):
                    await running.engine.check()
            except TimeoutError:
                return f"engine {name} does not answer"
            except DispatcherNotWorking as error:
                return str(error)
        return None

    def _warn_of_exposure(self) -> None:
        """Warn when other machines can reach this server without credentials or without TLS."""
        listened = (self._settings.listen, self._settings.web_listen or LOOPBACK[0])
        if all(address.startswith(LOOPBACK) for address in listened):
            return
        if self.is_open:
            log.warning("other machines can connect without credentials: anyone can use the bus")
        elif self._settings.tls_cert is None:
            log.warning("other machines can connect without TLS: anyone on the network path can read tokens and events")
