"""The inbox, independent of any database library: what handlers that take effect once have in common."""

import inspect

from duebus._core.delivery import Delivery

__all__ = ["MAX_IDLE", "AlreadyHandled", "check_ended", "too_late"]

MAX_IDLE = "10s"
"""How long PostgreSQL keeps the locks of a worker that is suspended between its note and its commit."""


class AlreadyHandled(Exception):
    """The event was handled before, or another worker has handled it meanwhile: what this one has written is undone."""


def too_late(delivery: Delivery, last: int) -> RuntimeError:
    """The error of a commit that a later lease of the key forbids."""
    return RuntimeError(
        f"too late: the lease has run out, and a later event of the key {delivery.key!r} was handled"
        f" (fencing token {delivery.fencing_token}, theirs {last})"
    )


def check_ended(result: object) -> None:
    """Refuse a result that would run the handler only later, when its transaction is over.

    Raises:
        TypeError: it is one.
    """
    if inspect.isawaitable(result) or inspect.isgenerator(result) or inspect.isasyncgen(result):
        raise TypeError(f"the handler returned a {type(result).__name__}: none of its lines has run")
