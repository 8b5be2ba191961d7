"""The inbox, independent of any database library: what handlers that take effect once have in common."""

import inspect
from collections.abc import Iterator
from contextlib import contextmanager

from duebus._core.delivery import Delivery
from duebus.worker.decisions import RateLimited
from duebus.worker.outages import Outage

__all__ = ["MAX_IDLE", "AlreadyHandled", "Beginning", "check_ended", "too_late"]

MAX_IDLE = "10s"
"""How long PostgreSQL keeps the locks of a worker that is suspended between its note and its commit."""

_OUTAGE_PAUSE_S = 1.0
"""How long nothing is begun after the database could not be reached."""


class AlreadyHandled(Exception):
    """The event was handled before, or another worker has handled it meanwhile: what this one has written is undone."""


class Beginning:
    """What is read before a handler begins. An outage of the database then uses up no attempt: events wait.

    Args:
        outages: What is raised if the database can't be reached.
    """

    def __init__(self, *outages: type[Exception]) -> None:
        self._outages = outages
        self._outage = Outage("the database can be reached again")

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Around it.

        Raises:
            RateLimited: the database can't be reached.
        """
        try:
            yield
        except self._outages as error:
            message = f"the database can't be reached: {' '.join(str(error).split())}"
            self._outage.failed("events wait: %s", message)
            raise RateLimited(_OUTAGE_PAUSE_S, "group", message) from error
        self._outage.ended()


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
