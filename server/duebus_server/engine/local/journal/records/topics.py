"""Records of topics and groups."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from duebus_server.domain.administration import RetryPolicyChanges, TopicChanges
from duebus_server.engine.local.journal.columns import Columns
from duebus_server.engine.local.journal.frames import Kind

if TYPE_CHECKING:
    from duebus_server.engine.local.group import Group
    from duebus_server.engine.local.journal.columns import ColumnReader


@dataclass(slots=True)
class GroupState:
    """A group with its settings.

    Attributes:
        claims: whether it is new and takes over the unclaimed events.
        kept_us: how long an ephemeral group lasts without sessions.
    """

    kind: ClassVar[Kind] = Kind.GROUP

    topic: str
    group: str
    claims: bool
    ephemeral: bool
    kept_us: int
    paused: bool
    policy: RetryPolicyChanges | None

    @classmethod
    def of(cls, group: Group, *, claims: bool = False) -> GroupState:
        """A group as it is now."""
        return cls(group.topic, group.name, claims, group.ephemeral, group.kept_us, group.paused, group.policy_changes)

    def body(self) -> bytes:
        """See ``Record``."""
        return (
            Columns()
            .texts(self.topic, self.group)
            .numbers(self.claims, self.ephemeral, self.kept_us, self.paused)
            .optional(*_policy_numbers(self.policy or RetryPolicyChanges()))
            .body()
        )

    @classmethod
    def read(cls, reader: ColumnReader) -> GroupState:
        """The record that has this body."""
        topic, group = reader.texts()
        claims, ephemeral, kept_us, paused = reader.numbers()
        policy = RetryPolicyChanges(*reader.optional())
        return cls(topic, group, bool(claims), bool(ephemeral), kept_us, bool(paused), policy or None)


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
            .body()
        )

    @classmethod
    def read(cls, reader: ColumnReader) -> TopicState:
        """The record that has this body."""
        (topic,) = reader.texts()
        return cls(topic, TopicChanges(RetryPolicyChanges(*reader.optional()), *reader.optional()))


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
