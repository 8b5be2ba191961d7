"""What this replica knows of its own sessions: their leases, and when the first of a group runs out."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import count
from typing import TYPE_CHECKING

from duebus_server.domain.model import LeaseRef
from duebus_server.engine.redis.partitioned.partitions import topic_of

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator


@dataclass(slots=True)
class LocalSession:
    """A session of this replica.

    Attributes:
        name: among the sessions of all replicas: the replica, a slash, a number.
        held: the event ids of its leases by fencing token.
        owed_grace_us: its leases are to be shortened to this, and Redis was away.
        owes_leave: it has left, and Redis does not know.
        join_lost: the answer to its command to join was lost, so that may come through after it has left.
        left_s: when Redis first heard that it has left, by the monotonic clock.
        has_left: it is gone; what is left of it are its leases, and what it owes.
        uncertain: an answer to a lease was lost, so Redis may have given it leases that nobody knows of.
        joined_us: when Redis was told of it; None while it is to be told yet, or anew.
        round: grows each time those are taken back: the command itself may be on its way still, and is then too late.
    """

    name: str
    session_id: str
    topic: str
    group: str
    consumer: str
    held: dict[int, str] = field(default_factory=dict)
    uncertain: bool = False
    joined_us: int | None = None
    round: int = 0
    owed_grace_us: int | None = None
    owes_leave: bool = False
    join_lost: bool = False
    left_s: float | None = None
    has_left: bool = False

    def leases(self) -> list[LeaseRef]:
        """The leases it holds."""
        return [LeaseRef(event_id, fencing_token) for fencing_token, event_id in self.held.items()]

    def let_go(self, fencing_tokens: Iterable[int]) -> None:
        """Leases that have ended; those it does not hold are passed over."""
        for fencing_token in fencing_tokens:
            self.held.pop(fencing_token, None)


class LocalSessions:
    """The sessions of this replica; one that has left is kept until its leases have ended."""

    def __init__(self, replica: str) -> None:
        self._replica = replica
        self._numbers = count(1)
        self._by_place: dict[tuple[str, str, str], LocalSession] = {}
        self._by_name: dict[str, LocalSession] = {}

    def __iter__(self) -> Iterator[LocalSession]:
        return iter(self._by_place.values())

    def find(self, topic: str, group: str, session_id: str) -> LocalSession | None:
        """The session of this id in a group."""
        return self._by_place.get((topic, group, session_id))

    def add(self, topic: str, group: str, session_id: str, consumer: str) -> LocalSession:
        """A session that joins, with what it held when it was here before."""
        session = self.find(topic, group, session_id)
        if session is None:
            name = f"{self._replica}/{next(self._numbers)}"
            session = LocalSession(name, session_id, topic, group, consumer)
            self._by_place[topic, group, session_id] = self._by_name[name] = session
        session.consumer, session.has_left = consumer, False
        return session

    def leave(self, session: LocalSession) -> None:
        """The session is gone."""
        session.has_left = True
        self._forget_if_done(session)

    def ended(self, name: str, fencing_tokens: Iterable[int]) -> LocalSession | None:
        """Leases of a session have ended; the session, if it is one of this replica."""
        session = self._by_name.get(name)
        if session is not None:
            session.let_go(fencing_tokens)
            self._forget_if_done(session)
        return session

    def in_group(self, topic: str, group: str | None) -> list[LocalSession]:
        """The sessions in a group, or with None in any group of a topic."""
        return [session for session in self if session.topic == topic and group in (None, session.group)]

    def elsewhere(self, topic: str, names: Collection[str]) -> list[LocalSession]:
        """The sessions in partitions of a topic that are not among these."""
        return [session for session in self if topic_of(session.topic) == topic and session.topic not in names]

    def forget(self, session: LocalSession) -> None:
        """The session is over, with all that it held and owed."""
        session.has_left = True
        self._by_name.pop(session.name, None)
        self._by_place.pop((session.topic, session.group, session.session_id), None)

    def groups(self) -> set[tuple[str, str]]:
        """The groups that have sessions here."""
        return {(session.topic, session.group) for session in self if not session.has_left}

    def _forget_if_done(self, session: LocalSession) -> None:
        if session.has_left and not session.held and not session.owes_leave:
            self.forget(session)


class Expiries:
    """When the first lease of each group with leases of this replica runs out, in microseconds."""

    def __init__(self) -> None:
        self._next: dict[tuple[str, str], int] = {}

    def expects(self, topic: str, group: str, at_us: int) -> None:
        """A lease was given that runs out then."""
        known = self._next.get((topic, group))
        if known is None or at_us < known:
            self._next[topic, group] = at_us

    def forget(self, topic: str, group: str | None) -> None:
        """A group, or with None a topic, is gone."""
        for known in [known for known in self._next if known[0] == topic and group in (None, known[1])]:
            del self._next[known]

    def due(self, now_us: int) -> list[tuple[str, str]]:
        """The groups to look into."""
        return [group for group, at_us in self._next.items() if at_us <= now_us]

    def looked(self, topic: str, group: str, next_us: int | None) -> None:
        """What a look has found: the next expiry, or None when nothing is leased."""
        if next_us is None:
            self._next.pop((topic, group), None)
        else:
            self._next[topic, group] = next_us
