"""``python -m duebus_server``: run a server. ``duebus serve`` comes here too."""

from __future__ import annotations

import argparse
import asyncio
import sys
from typing import Any

from duebus_server.app import serve
from duebus_server.config import Settings, SettingsError, load_settings
from duebus_server.domain.errors import DispatcherNotWorking
from duebus_server.ops.http import HttpListenError
from duebus_server.ops.logs import configure_logs
from duebus_server.ops.tracing import NoOpenTelemetryError
from duebus_server.wire.server import PortInUseError

EXIT_CANNOT_SERVE = 1
EXIT_WRONG_SETTING = 2


def run(flags: dict[str, Any]) -> int:
    """Serve until stopped.

    Args:
        flags: the settings that were given on the command line, by their names in ``Settings``.

    Returns:
        The exit status: 0 after a drain, 1 when the server can't start, 2 when a setting is wrong; then one line on
        standard error says why.
    """
    try:
        settings = load_settings(flags)
        configure_logs(settings.log_format)
        asyncio.run(serve(settings))
    except (SettingsError, NoOpenTelemetryError) as error:
        return _fail(error, EXIT_WRONG_SETTING)
    except (PortInUseError, HttpListenError, DispatcherNotWorking) as error:
        return _fail(error, EXIT_CANNOT_SERVE)
    return 0


def main() -> int:
    """Flags from the command line."""
    parser = argparse.ArgumentParser("duebus_server", description="Run a DueBus server.")
    for name in Settings.model_fields:
        action = "append" if name == "engine" else "store"
        parser.add_argument(f"--{name.replace('_', '-')}", action=action)
    given = {name: value for name, value in vars(parser.parse_args()).items() if value is not None}
    return run(given)


def _fail(error: Exception, status: int) -> int:
    print(f"duebus: {error}", file=sys.stderr)  # noqa: T201  # one clear line
    return status


if __name__ == "__main__":
    sys.exit(main())
