"""The command line `duebus`."""

import gc
import os
import signal
import sys
from typing import NoReturn

__all__ = ["main"]

_STATUS_FAILED = 1
_STATUS_TERMINATED = 128 + signal.SIGTERM
_EXTRA = {"typer", "rich"}


def main() -> None:
    """Runs the command in the arguments and ends the process.

    The status is 0 if the command succeeded, 1 if it failed, 2 if the arguments were wrong, and, as in a shell, 130
    after Ctrl-C, 141 after a closed pipe, and 143 after a SIGTERM that the command does not handle, or not yet. A
    failure is one line on standard error.
    """
    if os.getpid() == 1:
        # Without a handler the kernel drops it for process 1, and who stops the container waits until it is killed.
        signal.signal(signal.SIGTERM, _end)
    # Standard error is for the command's own messages; gRPC would report every connection that a server ends. It reads
    # this once, when it is loaded.
    os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
    # Loaded modules are not garbage. Searching them for it, during loading and at the end of the process, takes a sixth
    # of a short command's CPU time. Once the command is loaded, `duebus.cli.app` enables the collector.
    gc.disable()
    try:
        from duebus.cli.app import run  # noqa: PLC0415  # installed by the extra
    except ModuleNotFoundError as error:
        if error.name not in _EXTRA:
            raise
        print("duebus: the command line needs the extra cli: pip install 'duebus[cli]'", file=sys.stderr)  # noqa: T201
        sys.exit(_STATUS_FAILED)
    status = run()
    gc.freeze()
    sys.exit(status)


def _end(_number: int, _frame: object) -> NoReturn:
    os._exit(_STATUS_TERMINATED)
