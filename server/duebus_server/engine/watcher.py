"""What an engine reports."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from duebus_server.domain.model import LeaseBatch


class Watcher(Protocol):
    """Receives what happens in an engine. Called on the event loop; must not block or raise."""

    def due(self, topic: str, group: str, at_us: int) -> None:
        """The group has something to lease at ``at_us``, or now if that has passed. May be called too often, and may be
        missed when a connection breaks, so nothing may rely on it alone.
        """

    def leased(self, topic: str, group: str, session_id: str, batch: LeaseBatch) -> None:
        """A dispatch or an ack has used a session's reservation: it has leased these events to the session, or none.

        Called before the dispatch or the ack returns, once for each reservation, and where a topic has several
        partitions, once for each of them that stored or settled something. It takes the place of ``due`` for what the
        dispatch has stored.
        """

    def leases_ended(self, session_id: str, fencing_tokens: Sequence[int]) -> None:
        """The session no longer holds these leases: settled, deleted, or moved to another session."""

    def leases_ran_out(self, session_id: str, fencing_tokens: Sequence[int]) -> None:
        """The session no longer holds these leases: it has let them run out."""

    def leases_extended(self, session_id: str) -> None:
        """Leases of the session were extended."""

    def died(self, topic: str, group: str, count: int, first_ids: Sequence[str]) -> None:
        """Events of the group have become dead letters: nacked as such, out of retries, or unreadable.

        Each event is reported once, on the replica that made it a dead letter, with one call for all events of a step;
        ``first_ids`` has at most ten of them. Not reported if the storage's answer is lost.
        """

    def suspected(self, topic: str, group: str, count: int, first_ids: Sequence[str]) -> None:
        """Events of the group have become suspects. Reported as ``died`` is."""

    def deleted(self, topic: str, group: str | None) -> None:
        """The group, or with None the topic with all its groups, was deleted. Its streams have to end.

        Called on every replica, after ``leases_ended`` for its leases. May be missed when a connection breaks; a
        session then learns of it from its next lease.
        """

    def limited(self, topic: str, group: str) -> None:
        """Every delivery of the group counts for a limit from now on; see ``TopicConfig.is_limited``. A subscriber that
        has joined before may ask for more than it can begin.

        Called on every replica when limits or key policies are set. May be missed as ``deleted``, and may be repeated.
        """

    def schedules_due(self, at_us: int) -> None:
        """The first schedule is due at ``at_us`` of the engine's wall clock, or now if that has passed. Reported as
        ``due`` is, on every replica.
        """
