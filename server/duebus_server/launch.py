"""Runs one server from its settings to its exit status."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING

from duebus_server.app import serve
from duebus_server.config import SettingsError
from duebus_server.domain.errors import DispatcherNotWorking, DuplicateInitialized
from duebus_server.ops.http import HttpListenError
from duebus_server.ops.logs import configure_logs
from duebus_server.ops.tracing import NoOpenTelemetryError
from duebus_server.scheduling.zones import NoTimeZonesError
from duebus_server.wire.grpc_server import ServerEndedError
from duebus_server.wire.server import PortInUseError

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from duebus_server.config import Settings

EXIT_CANNOT_SERVE = 1
EXIT_WRONG_SETTING = 2


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


def print_error(error: Exception, status: int) -> int:
    """Print what is wrong as one line on standard error. Returns the exit status."""
    print(f"duebus: {error}", file=sys.stderr)  # noqa: T201  # one clear line
    return status
