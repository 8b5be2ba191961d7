"""Asks before something that can't be undone."""

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
    if sys.stdin.readline().strip().lower() not in _AGREED:
        raise CommandFailed("nothing was done")
