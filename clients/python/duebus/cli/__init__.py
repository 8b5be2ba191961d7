"""The command line `duebus`."""

import os
import sys

__all__ = ["main"]

_STATUS_FAILED = 1
_EXTRA = {"typer", "rich"}


def main() -> None:
    """Runs the command that the arguments name and ends the process.

    The status is 0 when the command did what it was asked, 1 when it failed, 2 when it was not understood, and as a
    shell would have it after a Ctrl-C (130) or a closed pipe (141). A failure is one line on standard error.
    """
    # Standard error is for what the command says itself; gRPC would report each connection there that a server ends. It
    # reads this once, when it is loaded.
    os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
    try:
        from duebus.cli.app import run  # noqa: PLC0415  # what the extra brings
    except ModuleNotFoundError as error:
        if error.name not in _EXTRA:
            raise
        print("duebus: the command line needs the extra cli: pip install 'duebus[cli]'", file=sys.stderr)  # noqa: T201
        sys.exit(_STATUS_FAILED)
    sys.exit(run())
