"""Which of several handlers have succeeded with an event that others failed."""

from collections.abc import Iterable

from duebus._core.delivery import Delivery
from duebus.worker.registry import Registration

__all__ = ["SucceededHandlers"]


class SucceededHandlers:
    """Remembers in this process, for the last `most` events that some of several handlers failed.

    A first attempt never finds anything: an event that was redriven, or a new one of the same id, is handled in full.
    """

    def __init__(self, most: int = 10_000) -> None:
        self._most = most
        self._succeeded: dict[str, frozenset[Registration]] = {}

    def remember(self, delivery: Delivery, succeeded: Iterable[Registration]) -> None:
        """These handlers need not see the event again."""
        self._succeeded[delivery.event_id] = frozenset(succeeded)
        if len(self._succeeded) > self._most:
            del self._succeeded[next(iter(self._succeeded))]

    def recall(self, delivery: Delivery) -> frozenset[Registration]:
        """The handlers that have succeeded in an earlier attempt; forgets them."""
        if not self._succeeded:
            return frozenset()
        succeeded = self._succeeded.pop(delivery.event_id, frozenset())
        return succeeded if delivery.attempt > 1 else frozenset()
