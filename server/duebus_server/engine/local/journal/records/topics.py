"""Records of topics and groups."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from duebus_server.domain.administration import GroupChanges, RetryPolicyChanges, TopicChanges
from duebus_server.domain.rates import DEFAULT_KEY_POLICY, NO_LIMITS, KeyPolicy, Limits, OnDead, Rate
from duebus_server.engine.local.journal.columns import Columns
from duebus_server.engine.local.journal.frames import Kind

if TYPE_CHECKING:
    from collections.abc import Sequence

    from duebus_server.engine.local.group_core import GroupCore
    from duebus_server.engine.local.journal.columns import ColumnReader
    from duebus_server.engine.local.keys import Key


@dataclass(slots=True)
class GroupState:
    """A group with its settings.

    Attributes:
        claims: whether it is new and takes over the unclaimed events.
        kept_us: how long an ephemeral group lasts without sessions.
        tat_us: how far it has used up its rate; see ``domain.rates``.
        paused_until_us: until when a nack has paused it.
    """

    kind: ClassVar[Kind] = Kind.GROUP

    topic: str
    group: str
    claims: bool
    ephemeral: bool
    kept_us: int
    paused: bool
    changes: GroupChanges
    tat_us: int = 0
    paused_until_us: int = 0

    @classmethod
    def of(cls, group: GroupCore, *, claims: bool = False) -> GroupState:
        """A group as it is now."""
        return cls(
            group.topic,
            group.name,
            claims,
            group.ephemeral,
            group.kept_us,
            group.paused,
            group.changes,
            group.throttle.tat_us,
            group.throttle.paused_until_us,
        )

    def body(self) -> bytes:
        """See ``Record``."""
        return (
            Columns()
            .texts(self.topic, self.group)
            .numbers(self.claims, self.ephemeral, self.kept_us, self.paused, self.tat_us, self.paused_until_us)
            .optional(*_policy_numbers(self.changes.retry_policy))
            .optional(*_limit_numbers(self.changes))
            .body()
        )

    @classmethod
    def read(cls, reader: ColumnReader) -> GroupState:
        """The record that has this body."""
        topic, group = reader.texts()
        claims, ephemeral, kept_us, paused, tat_us, paused_until_us = reader.numbers()
        changes = GroupChanges(RetryPolicyChanges(*reader.optional()), *_limits(reader.optional()))
        return cls(topic, group, bool(claims), bool(ephemeral), kept_us, bool(paused), changes, tat_us, paused_until_us)


@dataclass(slots=True)
class KeyTimes:
    """When keys of a group can be leased again.

    Attributes:
        names: the keys.
        tats_us: how far each has used up its rate; see ``domain.rates``.
        paused_until_us: until when a nack has paused each; 0 for none.
    """

    kind: ClassVar[Kind] = Kind.KEY_TIMES

    topic: str
    group: str
    names: Sequence[str]
    tats_us: Sequence[int]
    paused_until_us: Sequence[int]

    @classmethod
    def of(cls, group: GroupCore, keys: Sequence[Key]) -> KeyTimes:
        """These keys as they are now."""
        times = [key.tat_us for key in keys], [key.paused_until_us for key in keys]
        return cls(group.topic, group.name, [key.name for key in keys], *times)

    def body(self) -> bytes:
        """See ``Record``."""
        columns = Columns().texts(self.topic, self.group).texts(*self.names)
        return columns.numbers(*self.tats_us).numbers(*self.paused_until_us).body()

    @classmethod
    def read(cls, reader: ColumnReader) -> KeyTimes:
        """The record that has this body."""
        topic, group = reader.texts()
        return cls(topic, group, reader.texts(), reader.numbers(), reader.numbers())


@dataclass(slots=True)
class GroupDeleted:
    """A group was deleted, with the events that only it held. ``until_us`` is as in Removed."""

    kind: ClassVar[Kind] = Kind.GROUP_DELETED

    topic: str
    group: str
    until_us: int

    def body(self) -> bytes:
        """See ``Record``."""
        return Columns().texts(self.topic, self.group).numbers(self.until_us).body()

    @classmethod
    def read(cls, reader: ColumnReader) -> GroupDeleted:
        """The record that has this body."""
        topic, group = reader.texts()
        return cls(topic, group, *reader.numbers())


@dataclass(slots=True)
class TopicState:
    """A topic's own settings."""

    kind: ClassVar[Kind] = Kind.TOPIC

    topic: str
    changes: TopicChanges

    def body(self) -> bytes:
        """See ``Record``."""
        changes = self.changes
        return (
            Columns()
            .texts(self.topic)
            .optional(*_policy_numbers(changes.retry_policy))
            .optional(
                changes.lease_us,
                changes.max_queued,
                changes.dead_letter_retention_us,
                changes.dedupe_window_us,
                changes.partitions,
            )
            .optional(*_limit_numbers(changes))
            .body()
        )

    @classmethod
    def read(cls, reader: ColumnReader) -> TopicState:
        """The record that has this body."""
        (topic,) = reader.texts()
        policy = RetryPolicyChanges(*reader.optional())
        lease_us, max_queued, retention_us, dedupe_us, partitions = reader.optional()
        limits, keys = _limits(reader.optional())
        changes = TopicChanges(policy, lease_us, max_queued, retention_us, dedupe_us, partitions, limits, keys)
        return cls(topic, changes)


@dataclass(slots=True)
class TopicDeleted:
    """A topic was deleted, with all its events."""

    kind: ClassVar[Kind] = Kind.TOPIC_DELETED

    topic: str

    def body(self) -> bytes:
        """See ``Record``."""
        return Columns().texts(self.topic).body()

    @classmethod
    def read(cls, reader: ColumnReader) -> TopicDeleted:
        """The record that has this body."""
        return cls(*reader.texts())


def _policy_numbers(policy: RetryPolicyChanges) -> tuple[int | None, ...]:
    return policy.max_retries, policy.backoff_initial_us, policy.backoff_max_us


_ON_DEAD = (OnDead.SKIP, OnDead.HOLD)


def _limit_numbers(changes: GroupChanges | TopicChanges) -> tuple[int | None, ...]:
    """Limits and key policy. They are None if they are not set, which is the same as having none."""
    limits, keys = changes.limits or NO_LIMITS, changes.keys or DEFAULT_KEY_POLICY
    return (
        limits.max_in_flight,
        *_rate_numbers(limits.rate),
        keys.max_in_flight,
        *_rate_numbers(keys.rate),
        _ON_DEAD.index(keys.on_dead),
        keys.max_blocked,
    )


def _limits(numbers: Sequence[int | None]) -> tuple[Limits | None, KeyPolicy | None]:
    """What ``_limit_numbers`` made numbers of."""
    in_flight, *rates, slots, events, per_us, burst, on_dead, max_blocked = numbers
    limits = Limits(in_flight or 0, _rate(*rates))
    keys = KeyPolicy(slots, _rate(events, per_us, burst), _ON_DEAD[on_dead or 0], max_blocked or 0)
    return limits or None, keys or None


def _rate_numbers(rate: Rate | None) -> tuple[int | None, ...]:
    return (None, None, None) if rate is None else (rate.events, rate.per_us, rate.burst)


def _rate(events: int | None, per_us: int | None, burst: int | None) -> Rate | None:
    return None if events is None or per_us is None else Rate(events, per_us, burst or 0)
