"""Asks before something that can't be undone."""

import os
import select
import signal
import sys

from duebus.cli.failures import STATUS_MISUNDERSTOOD, CommandFailed

_AGREED = ("y", "yes")


def confirm(what: str) -> None:
    """Returns if the user at the terminal agrees.

    Args:
        what: The action and its extent: `purge 12 dead letters of order.created`.

    Raises:
        CommandFailed: the user does not agree, or there is no terminal to ask on.
    """
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise CommandFailed(
            f"would {what}; there is no terminal to ask on, so pass --yes; nothing was done",
            status=STATUS_MISUNDERSTOOD,
        )
    print(f"{what}? [y/N] ", end="", file=sys.stderr, flush=True)  # noqa: T201 - beside the output
    if _answer().strip().lower() not in _AGREED:
        raise CommandFailed("nothing was done")


def _answer() -> str:
    """Reads a line from the terminal.

    Python notices a Ctrl-C that comes just before a read only after it, so the read waits for either of the two.

    Raises:
        KeyboardInterrupt: Ctrl-C.
    """
    interrupted, write_end = os.pipe()
    os.set_blocking(write_end, False)  # as `set_wakeup_fd` wants it
    before = signal.set_wakeup_fd(write_end)
    try:
        select.select([sys.stdin, interrupted], [], [])
        return sys.stdin.readline()
    finally:
        signal.set_wakeup_fd(before)
        os.close(interrupted)
        os.close(write_end)
