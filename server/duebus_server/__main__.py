"""``python -m duebus_server``: run a server. ``duebus serve`` comes here too."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from duebus_server.config import Settings, SettingsError, load_settings
from duebus_server.launch import EXIT_WRONG_SETTING, complain, launch
from duebus_server.processes import launch_several


def run(flags: dict[str, Any]) -> int:
    """Serve until stopped.

    Args:
        flags: the settings that were given on the command line, by their names in ``Settings``.

    Returns:
        The exit status, as of ``launch``.
    """
    try:
        settings = load_settings(flags)
    except SettingsError as error:
        return complain(error, EXIT_WRONG_SETTING)
    return launch_several(settings, _announce) if settings.processes > 1 else launch(settings, _announce)


def main() -> int:
    """Flags from the command line."""
    parser = argparse.ArgumentParser("duebus_server", description="Run a DueBus server.")
    for name in Settings.model_fields:
        action = "append" if name == "engine" else "store"
        parser.add_argument(f"--{name.replace('_', '-')}", action=action)
    given = {name: value for name, value in vars(parser.parse_args()).items() if value is not None}
    return run(given)


def _announce(line: str) -> None:
    print(line, flush=True)  # noqa: T201  # the contract's line


if __name__ == "__main__":
    sys.exit(main())
