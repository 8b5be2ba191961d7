"""``python -m duebus_server``: run a server. ``duebus serve`` calls this too."""

from __future__ import annotations

import argparse
import os
import sys

# gRPC's own log lines of lower levels have unescaped bytes of its peers. It reads this once, when it is loaded.
os.environ.setdefault("GRPC_VERBOSITY", "ERROR")

from duebus_server.config import Settings, SettingsError, load_settings
from duebus_server.launch import EXIT_WRONG_SETTING, launch, print_error
from duebus_server.processes import launch_several


def run(settings: Settings, *, test_clock: bool = False) -> int:
    """Serve until stopped. Returns the exit status; see ``launch``."""
    if settings.processes > 1:
        return launch_several(settings, _announce)
    return launch(settings, _announce, test_clock=test_clock)


def main() -> int:
    """Flags from the command line."""
    parser = argparse.ArgumentParser("duebus_server", description="Run a DueBus server.")
    for name in Settings.model_fields:
        action = "append" if name == "engine" else "store"
        parser.add_argument(f"--{name.replace('_', '-')}", action=action)
    parser.add_argument("--test-clock", action="store_true")
    flags = vars(parser.parse_args())
    test_clock = flags.pop("test_clock")
    given = {name: value for name, value in flags.items() if value is not None}
    try:
        settings = load_settings(given)
    except SettingsError as error:
        return print_error(error, EXIT_WRONG_SETTING)
    return run(settings, test_clock=test_clock)


def _announce(line: str) -> None:
    print(line, flush=True)  # noqa: T201  # the contract's line


if __name__ == "__main__":
    sys.exit(main())
