"""Remembers which of several handlers have succeeded with an event that others failed."""

from collections.abc import Iterable

from duebus._core.delivery import Delivery
from duebus.worker.registry import Registration

__all__ = ["SucceededHandlers"]


class SucceededHandlers:
    """Remembers the last `most` such events, in this process.

    A first attempt never finds anything: a redriven event, or a new one with the same id, is handled by all handlers.
    """

    def __init__(self, most: int = 10_000) -> None:
        self._most = most
        self._succeeded: dict[str, frozenset[Registration]] = {}

    def remember(self, delivery: Delivery, succeeded: Iterable[Registration]) -> None:
        """Records that these handlers have succeeded with the event."""
        self._succeeded[delivery.event_id] = frozenset(succeeded)
        if len(self._succeeded) > self._most:
            del self._succeeded[next(iter(self._succeeded))]

    def recall(self, delivery: Delivery) -> frozenset[Registration]:
        """Returns and forgets the handlers that succeeded in an earlier attempt."""
        if not self._succeeded:
            return frozenset()
        succeeded = self._succeeded.pop(delivery.event_id, frozenset())
        return succeeded if delivery.attempt > 1 else frozenset()
