"""Dispatches single events, each in its own call."""

from duebus._core.calls import DispatchKind, dispatch_together
from duebus._core.fields import Span
from duebus._core.model import Dispatched
from duebus._sync.connection import Connection
from duebus.v1 import event_bus_pb2

__all__ = ["Dispatcher"]


class Dispatcher:
    """Dispatches the single events of one client."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def run(
        self, kind: DispatchKind, event: event_bus_pb2.Event, timeout: Span | None, request_id: str | None
    ) -> Dispatched:
        """Dispatches an event.

        Args:
            kind: The arguments besides the event.
            event: The event.
            timeout: How long it may take; None: the client's.
            request_id: The caller's own; None: a new one.

        Raises:
            DueBusError: it failed.
        """
        (answer,) = self._connection.run(dispatch_together(kind, [event], request_id), timeout)
        return answer
