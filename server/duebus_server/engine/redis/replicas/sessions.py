"""This replica's sessions: their stages, their leases, and when the first lease of each group runs out.

::

    NEW --JOIN is sent--> JOINING --answered--> JOINED
     ^                       |                    |
     +--- Redis has lost it -+--------------------+

    from NEW, JOINING or JOINED:
       --stream over--> LEAVING --LEAVE is answered--> LEFT --its last lease has ended--> GONE
                          |  ^
                          +--+ answered, but a lost JOIN may still arrive: LEAVE is sent again

    from LEAVING or LEFT: --the same session id joins--> NEW
    from every stage:     --its group was deleted, or its partition was closed--> GONE
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import Enum, auto
from itertools import count
from typing import TYPE_CHECKING

from duebus_server.domain.errors import DispatcherNotWorking
from duebus_server.domain.model import LeaseRef
from duebus_server.engine.redis.transport.errors import is_lost

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator

    from duebus_server.domain.model import SubscriberInfo
    from duebus_server.engine.redis.partition import Partition


PULL = "~"
"""As in ``abandon.lua``: the leases of these sessions last when their replica dies."""


class Stage(Enum):
    """What was sent to Redis about a session."""

    NEW = auto()
    """It has to join, for the first time or again, before it leases."""
    JOINING = auto()
    """The command to join is under way, or its answer was lost."""
    JOINED = auto()
    LEAVING = auto()
    """Its stream is over, and Redis has not confirmed that it has left."""
    LEFT = auto()
    """Redis knows that it has left. It is kept until its leases have ended."""
    GONE = auto()
    """It is no longer among the sessions of this replica."""


class Unanswered(Enum):
    """Commands whose answer was lost. Their effect is unknown, and they may still arrive late."""

    JOIN = auto()
    """Redis may count the session as a subscriber after it has left."""
    LEASE = auto()
    """Redis may have granted the session leases that it does not know."""


@dataclass(slots=True)
class LocalSession:
    """A session of this replica.

    Attributes:
        name: unique among all replicas: the replica, a slash, a number. Before that of a pull is ``PULL``.
        held: the event ids of its leases by fencing token.
        joined_us: when it joined, by Redis's clock; None until Redis has answered.
        round: part of every lease command. It grows when unknown leases are taken back, so that a late command of an
            earlier round does nothing.
        grace_us: the grace to which its leases must still be shortened; None if there is nothing to shorten.
        left_s: when Redis first confirmed that it has left, by the monotonic clock.
        ephemeral_us: as in ``SubscriberInfo``.
        returns_in_us: how long its subscriber was asked to wait before it reconnects.
        is_limited: whether every delivery counted for a limit of its group when it joined.
    """

    name: str
    session_id: str
    partition: Partition
    group: str
    consumer: str
    stage: Stage = Stage.NEW
    unanswered: set[Unanswered] = field(default_factory=set)
    held: dict[int, str] = field(default_factory=dict)
    joined_us: int | None = None
    round: int = 0
    grace_us: int | None = None
    left_s: float | None = None
    ephemeral_us: int | None = None
    returns_in_us: int = 0
    is_limited: bool = False

    @property
    def is_over(self) -> bool:
        """Whether its stream is over, or its group was deleted."""
        return self.stage in (Stage.LEAVING, Stage.LEFT, Stage.GONE)

    def leases(self) -> list[LeaseRef]:
        """The leases it holds."""
        return [LeaseRef(event_id, fencing_token) for fencing_token, event_id in self.held.items()]

    def drop_leases(self, fencing_tokens: Iterable[int]) -> None:
        """Drop leases that have ended; unknown ones are ignored."""
        for fencing_token in fencing_tokens:
            self.held.pop(fencing_token, None)

    def not_adopted(self, lease: LeaseRef, event_id: str | None) -> None:
        """Drop a lease that Redis does not know.

        Args:
            lease: the lease, as its caller named it.
            event_id: the event that the session does hold under this token, or None. If it is another one, that lease
                stays.
        """
        if event_id is None or event_id == lease.event_id:
            self.drop_leases([lease.fencing_token])
        elif lease.fencing_token in self.held:  # it has not ended meanwhile
            self.held[lease.fencing_token] = event_id

    def joined(self, at_us: int) -> None:
        """Redis has answered JOIN. Ignored if Redis has lost the session since, or the stream is over."""
        if self.stage is Stage.JOINING:
            self.stage, self.joined_us = Stage.JOINED, at_us

    def require_rejoin(self) -> None:
        """Redis has lost the session, or another replica took this one for dead: it has to join again."""
        if not self.is_over:
            self.stage, self.joined_us = Stage.NEW, None

    def stream_over(self, returns_in_us: int) -> None:
        """The stream is over, which must be reported to Redis."""
        if not self.is_over:
            self.stage, self.returns_in_us = Stage.LEAVING, returns_in_us

    def subscribe_again(self, subscriber: SubscriberInfo) -> None:
        """The session joins, perhaps again under the same id. It keeps the leases that it held before."""
        self.consumer, self.ephemeral_us = subscriber.consumer, subscriber.ephemeral_us
        self.stage, self.joined_us, self.grace_us, self.left_s = Stage.NEW, None, None, None

    @contextmanager
    def awaiting(self, command: Unanswered) -> Iterator[None]:
        """Wraps a command. If its answer is lost, it stays among the unanswered ones."""
        before = command in self.unanswered
        self.unanswered.add(command)
        try:
            yield
        except DispatcherNotWorking as error:
            if not before and not is_lost(error.__cause__):
                self.unanswered.discard(command)
            raise
        if not before:
            self.unanswered.discard(command)


class LocalSessions:
    """The sessions of this replica; one that has left is kept until its leases have ended."""

    def __init__(self, replica: str) -> None:
        self._replica = replica
        self._numbers = count(1)
        self._by_place: dict[tuple[Partition, str, str], LocalSession] = {}
        self._by_name: dict[str, LocalSession] = {}

    def __iter__(self) -> Iterator[LocalSession]:
        return iter(self._by_place.values())

    def find(self, partition: Partition, group: str, session_id: str) -> LocalSession | None:
        """The session of this id in a group."""
        return self._by_place.get((partition, group, session_id))

    def add(self, partition: Partition, group: str, subscriber: SubscriberInfo) -> LocalSession:
        """The session that joins. One that was here before keeps the leases that it held."""
        session_id = subscriber.session_id
        session = self.find(partition, group, session_id)
        if session is None:
            name = f"{self._replica}/{PULL if subscriber.is_pull else ''}{next(self._numbers)}"
            session = LocalSession(name, session_id, partition, group, subscriber.consumer)
            self._by_place[partition, group, session_id] = self._by_name[name] = session
        session.subscribe_again(subscriber)
        return session

    def ended(self, name: str, fencing_tokens: Iterable[int]) -> LocalSession | None:
        """Leases of a session have ended. Returns the session if it belongs to this replica."""
        session = self._by_name.get(name)
        if session is not None:
            session.drop_leases(fencing_tokens)
            self.forget_if_done(session)
        return session

    def in_group(self, partition: Partition, group: str | None) -> list[LocalSession]:
        """The sessions in a group, or with None in any group of a topic."""
        return [session for session in self if session.partition == partition and group in (None, session.group)]

    def is_any_open_in(self, partition: Partition, group: str) -> bool:
        """Whether any session of this group has not left yet."""
        return any(session.stage not in (Stage.LEFT, Stage.GONE) for session in self.in_group(partition, group))

    def in_other_partitions(self, topic: str, partitions: Collection[Partition]) -> list[LocalSession]:
        """The sessions of a topic in partitions other than these."""
        return [session for session in self if session.partition.topic == topic and session.partition not in partitions]

    def forget(self, session: LocalSession) -> None:
        """Drop a session, with its leases and everything that has not been sent to Redis yet."""
        session.stage = Stage.GONE
        self._by_name.pop(session.name, None)
        self._by_place.pop((session.partition, session.group, session.session_id), None)

    def groups(self) -> set[tuple[Partition, str]]:
        """The groups that have sessions here."""
        return {(session.partition, session.group) for session in self if not session.is_over}

    def forget_if_done(self, session: LocalSession) -> None:
        """Forget a session that has left, unless it holds leases or may hold some."""
        if session.stage is Stage.LEFT and not session.held and Unanswered.LEASE not in session.unanswered:
            self.forget(session)


class Expiries:
    """When the first lease of each group with leases of this replica runs out, in microseconds."""

    def __init__(self) -> None:
        self._next: dict[tuple[Partition, str], int] = {}

    def expects(self, partition: Partition, group: str, at_us: int) -> None:
        """A lease was granted that runs out at ``at_us``."""
        known = self._next.get((partition, group))
        if known is None or at_us < known:
            self._next[partition, group] = at_us

    def forget(self, partition: Partition, group: str | None) -> None:
        """A group, or with None a topic, is gone."""
        for known in [known for known in self._next if known[0] == partition and group in (None, known[1])]:
            del self._next[known]

    def due(self, now_us: int) -> list[tuple[Partition, str]]:
        """The groups in which a lease may have run out."""
        return [group for group, at_us in self._next.items() if at_us <= now_us]

    def checked(self, partition: Partition, group: str, next_us: int | None) -> None:
        """A group was checked: the next expiry, or None if nothing is leased."""
        if next_us is None:
            self._next.pop((partition, group), None)
        else:
            self._next[partition, group] = next_us
