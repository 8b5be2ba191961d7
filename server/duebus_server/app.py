"""Puts the server together. The only module that sees every layer."""

from __future__ import annotations

import asyncio
import signal
from typing import TYPE_CHECKING

import structlog

from duebus_server.bus.administering import Administering
from duebus_server.bus.dispatching import Dispatching
from duebus_server.bus.engines import Engines, RunningEngine
from duebus_server.bus.lifecycle import Lifecycle
from duebus_server.bus.settling import Settling
from duebus_server.bus.subscribing import Subscribing
from duebus_server.config import SettingsError
from duebus_server.delivery.sessions import Sessions
from duebus_server.domain.clock import SystemClock
from duebus_server.domain.lease_token import LeaseTokens
from duebus_server.domain.model import EngineName
from duebus_server.engine.local import LocalEngine
from duebus_server.engine.redis import Credentials, RedisUrlError, make_redis_engine
from duebus_server.ops.gc_pauses import PauseKeeper
from duebus_server.wire.admin import EventBusAdminServicer
from duebus_server.wire.event_bus import EventBusServicer
from duebus_server.wire.server import WireServer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from duebus_server.config import Settings
    from duebus_server.domain.clock import Clock
    from duebus_server.engine.base import Engine, Watcher

log = structlog.get_logger()

STOP_GRACE_S = 5.0
"""After the drain: for the answers that are still on their way, that of Stop itself among them."""

LOOPBACK = ("127.0.0.1:", "localhost:", "[::1]:")


class App:
    """One server process: engines, use cases and the wire.

    Args:
        settings: all but ``engine``, which is settled by ``engines``.
        clock: drives all timers; tests pass one that they move.
        engines: not yet started; the first is the default.
    """

    def __init__(self, settings: Settings, clock: Clock, engines: Sequence[Engine]) -> None:
        self._settings = settings
        self._engines = Engines(RunningEngine(engine, Sessions(engine, clock)) for engine in engines)
        self._token_keys: dict[EngineName, bytes] = {}
        tokens = LeaseTokens(self._token_keys)
        self.lifecycle = Lifecycle(self._engines, clock, settings.sweep_interval, self._not_serving)
        self._wire = WireServer(
            EventBusServicer(
                Dispatching(self._engines),
                Subscribing(self._engines, tokens, settings.disconnect_grace),
                Settling(self._engines, tokens),
                self.lifecycle,
                settings.drain_timeout,
                clock.now_us,
            ),
            EventBusAdminServicer(Administering(self._engines), engines[0].name, clock.now_us),
        )

    def watcher(self, engine: EngineName) -> Watcher:
        """What listens to an engine, for those who want to listen as well."""
        return self._engines.get(engine).sessions

    async def start(self) -> str:
        """Start the engines and serve.

        Returns:
            HOST:PORT, with the port that is in use.

        Raises:
            PortInUseError: the address can't be listened on.
            DispatcherNotWorking: an engine can't be reached, or is not fit to be used.
        """
        await self.lifecycle.start()
        self._token_keys.update({running.engine.name: running.engine.lease_token_key for running in self._engines})
        host = self._settings.listen.rpartition(":")[0]
        port = await self._wire.start(self._settings.listen)
        if not self._settings.listen.startswith(LOOPBACK):
            log.warning("listening beyond this machine without TLS or tokens: anyone who can connect can use the bus")
        return f"{host}:{port}"

    async def stop(self) -> None:
        """Drain all engines and end."""
        await self.lifecycle.stop([], self._settings.drain_timeout)
        await self.wait_stopped()

    async def wait_stopped(self) -> None:
        """Return when every engine has been stopped, by whomever, and the last answers are sent."""
        await self.lifecycle.all_stopped.wait()
        await self._wire.stop(STOP_GRACE_S)

    async def _not_serving(self) -> None:
        await self._wire.not_serving()


async def serve(settings: Settings) -> None:
    """Run a server until a Stop, SIGTERM or SIGINT has drained it.

    Raises:
        SettingsError, PortInUseError, DispatcherNotWorking: it can't start.
    """
    clock = SystemClock()
    app = App(settings, clock, [make_engine(name, settings, clock) for name in settings.engine])
    loop = asyncio.get_running_loop()
    stops: set[asyncio.Task[None]] = set()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, lambda: stops.add(asyncio.create_task(app.stop())))
    try:
        address = await app.start()
    except BaseException:
        await app.lifecycle.abandon()
        raise
    PauseKeeper().install()
    print(f"duebus ready on {address} engines={','.join(settings.engine)}", flush=True)  # noqa: T201  # the contract's line
    await app.wait_stopped()
    await asyncio.gather(*stops)


def make_engine(name: EngineName, settings: Settings, clock: Clock) -> Engine:
    """An engine as the settings say, not yet started.

    Raises:
        SettingsError: the settings ask for what this server does not have.
    """
    if name is EngineName.LOCAL:
        return LocalEngine(clock, settings.topic_config(name))
    try:
        return make_redis_engine(
            settings.redis_url,
            settings.namespace,
            clock,
            settings.topic_config(name),
            credentials=Credentials(settings.redis_username, settings.read_redis_password()),
            min_replicas_ack=settings.min_replicas_ack,
        )
    except RedisUrlError as error:
        raise SettingsError(f"redis_url: {error}") from error
