"""Hand-over: a dispatch leases what is due at once to a session that has reserved room for it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from duebus_server.engine.local.indexes import Capacity

if TYPE_CHECKING:
    from collections.abc import Sequence

    from duebus_server.domain.model import LeaseBatch, LeasedEvent, LeaseRequest, SubscriberInfo
    from duebus_server.engine.local.group import Group
    from duebus_server.engine.local.records import Entry


class HandOver:
    """What the requests of one dispatch hand over to one session.

    Args:
        group: the session's group, in which what is due has been moved.
        session: the session with the reservation.
        request: the limits of what it can take.
        lease_us: how long the leases last.
        now_us: the time, in microseconds.
    """

    def __init__(
        self, group: Group, session: SubscriberInfo, request: LeaseRequest, lease_us: int, now_us: int
    ) -> None:
        self.group = group
        self._session = session
        self._request = request
        self._lease_us = lease_us
        self._now_us = now_us
        room = None if group.throttle.is_idle else group.throttle.room(group.in_flight, now_us)
        self._capacity = Capacity(
            request if room is None else replace(request, max_events=min(request.max_events, room))
        )
        self.leased: list[LeasedEvent] = []
        self._is_open = (
            not (group.paused or room == 0 or group.order.is_revising)
            and not group.indexes.has_ready(with_suspects=request.with_suspect)
            and not group.indexes.has_unmoved(now_us)
        )

    def take(self, ready: Sequence[Entry]) -> int:
        """READY -> LEASED for the first of these new events.

        Returns:
            How many.
        """
        count = self._fitting(ready)
        if count:
            self.leased += self.group.lease_all(
                ready[:count], self._session, self._request, self._now_us + self._lease_us, self._now_us
            )
        return count

    def _fitting(self, ready: Sequence[Entry]) -> int:
        """How many of these new events may be handed over, from the first on.

        This is the only place that decides it. Events are leased in order, so none is handed over if the group is
        paused, if an older one is READY or due and not moved yet, or if a new one before it did not fit. Those that are
        BLOCKED are not among them.
        """
        if not self._is_open:
            return 0
        count = self._capacity.take(ready)
        self._is_open = not self._capacity.is_used_up
        return count

    @property
    def session_id(self) -> str:
        """The session's id."""
        return self._session.session_id

    def batch(self) -> LeaseBatch:
        """The answer to the session: what was handed over, and when more is due."""
        with_suspects = self._request.with_suspect
        return self.group.batch(self.leased, with_suspects=with_suspects)
