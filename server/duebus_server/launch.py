"""Runs one server from its settings to its exit status."""

from __future__ import annotations

import asyncio
import signal
import sys
from typing import TYPE_CHECKING

import structlog

from duebus_server.app import App
from duebus_server.components import make_engine
from duebus_server.config import SettingsError
from duebus_server.domain.clock import MovableClock, SystemClock
from duebus_server.domain.errors import DispatcherNotWorking, DuplicateInitialized
from duebus_server.domain.model import EngineName
from duebus_server.ops.allocator import bound_heap, return_messages_at_once
from duebus_server.ops.gc_pauses import PauseKeeper
from duebus_server.ops.http import HttpListenError
from duebus_server.ops.logs import LevelSwitch, configure_logs
from duebus_server.ops.tracing import NoOpenTelemetryError
from duebus_server.scheduling.zones import NoTimeZonesError, zone_names
from duebus_server.wire.grpc_server import ServerEndedError
from duebus_server.wire.server import PortInUseError

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from duebus_server.config import Settings

EXIT_CANNOT_SERVE = 1
EXIT_WRONG_SETTING = 2

log = structlog.get_logger()


def launch(
    settings: Settings,
    announce: Callable[[str], None],
    *,
    parent: socket.socket | None = None,
    test_clock: bool = False,
) -> int:
    """Serve until stopped.

    Args:
        settings: the server's settings.
        announce: called with the ready line once the server accepts calls.
        parent: the socket to the process that started this one and others; None if this one runs alone.
        test_clock: the service TestClock moves its clock.

    Returns:
        The exit status: 0 after a drain; 1 if the server can't start or fails, and 2 if a setting is wrong, each with
        one line on standard error.
    """
    configure_logs(settings.log_format, settings.log_level)
    try:
        asyncio.run(serve(settings, announce, parent=parent, test_clock=test_clock))
    except (SettingsError, NoOpenTelemetryError) as error:
        return print_error(error, EXIT_WRONG_SETTING)
    except (
        PortInUseError,
        HttpListenError,
        DispatcherNotWorking,
        DuplicateInitialized,
        NoTimeZonesError,
        ServerEndedError,
    ) as error:
        return print_error(error, EXIT_CANNOT_SERVE)
    return 0


async def serve(
    settings: Settings,
    announce: Callable[[str], None],
    *,
    parent: socket.socket | None = None,
    test_clock: bool = False,
) -> None:
    """Run a server until a Stop, SIGTERM or SIGINT has drained it. SIGUSR1 turns debug lines of the log on and off.

    The arguments are those of ``launch``.

    Raises:
        SettingsError, PortInUseError, HttpListenError, UnusableStorage: it can't start.
        DuplicateInitialized: another server uses its data directory.
        DispatcherNotWorking: the disk of its data directory has failed.
        NoTimeZonesError: there are no time zones.
        ServerEndedError: it stopped accepting calls without being asked to.
    """
    bound_heap()
    zone_names()
    clock = _movable_clock(settings) if test_clock else SystemClock()
    failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    failed.add_done_callback(lambda _: failed.exception())  # whether or not anyone waits for it
    engines = [make_engine(name, settings, clock, failed.set_exception) for name in settings.engine]
    app = App(settings, clock, engines, parent=parent, failed=failed)
    if not app.is_open:
        return_messages_at_once()
    drains = _heed_signals(app, settings)
    pauses = PauseKeeper()
    looking: set[asyncio.Task[None]] = set()

    def ready(address: str) -> None:
        pauses.install()
        looking.add(asyncio.create_task(pauses.run(), name="garbage collection"))
        _warn_of_loss(settings)
        web = "" if app.web_url is None else f" web={app.web_url}"
        announce(f"duebus ready on {address} engines={','.join(settings.engine)}{web}")

    try:
        await app.start(ready)
    except BaseException:
        await app.close_http()
        await app.lifecycle.abandon()
        raise
    await app.wait_stopped()
    for task in looking:
        task.cancel()
    await asyncio.gather(*drains)


def _movable_clock(settings: Settings) -> MovableClock:
    """The clock of a server that keeps everything in memory.

    Raises:
        SettingsError: it keeps more.
    """
    if settings.engine != (EngineName.LOCAL,) or settings.data_dir is not None:
        raise SettingsError("test_clock", "needs the local engine alone, without a data directory")
    return MovableClock()


def _heed_signals(app: App, settings: Settings) -> set[asyncio.Task[None]]:
    """Returns the drains that signals will have begun."""
    loop = asyncio.get_running_loop()
    drains: set[asyncio.Task[None]] = set()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, lambda: drains.add(asyncio.create_task(app.drain())))
    loop.add_signal_handler(signal.SIGUSR1, LevelSwitch(settings.log_level).switch)
    return drains


def _warn_of_loss(settings: Settings) -> None:
    if EngineName.LOCAL in settings.engine and settings.data_dir is None:
        log.warning("the local engine keeps events in memory, and loses them when this process ends: see --data-dir")


def print_error(error: Exception, status: int) -> int:
    """Print what is wrong as one line on standard error. Returns the exit status."""
    print(f"duebus: {error}", file=sys.stderr)  # noqa: T201  # one clear line
    return status
