"""Operators' requests: new settings, new due times, dead letters to redrive or purge.

All times and durations are integer microseconds.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from duebus_server.domain.clock import SECOND
from duebus_server.domain.errors import InvalidArgument

if TYPE_CHECKING:
    from collections.abc import Sequence

    from duebus_server.domain.rates import KeyPolicy, Limits
    from duebus_server.domain.retry import RetryPolicy
    from duebus_server.domain.views import TopicConfig


# --- settings ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class RetryPolicyChanges:
    """Changes to the settings of a retry policy. A setting that is None stays as it is."""

    max_retries: int | None = None
    backoff_initial_us: int | None = None
    backoff_max_us: int | None = None

    def over(self, policy: RetryPolicy) -> RetryPolicy:
        """The policy with these changes, without checks. ``policy`` may have changed since they were accepted; if the
        initial backoff is now above the maximum, the maximum applies.
        """
        changed = _those_set(self)
        return replace(policy, **changed) if changed else policy

    def applied_to(self, policy: RetryPolicy) -> RetryPolicy:
        """The policy with these changes, checked.

        Raises:
            InvalidArgument: the maximum backoff would be less than the initial one.
        """
        changed = self.over(policy)
        if self and changed.backoff_max_us < changed.backoff_initial_us:
            wrong = "backoff_initial" if self.backoff_max_us is None else "backoff_max"
            raise InvalidArgument(
                f"config.retry_policy.{wrong}",
                f"backoff_max ({changed.backoff_max_us / SECOND:,.15g} s) must not be less than "
                f"backoff_initial ({changed.backoff_initial_us / SECOND:,.15g} s)",
            )
        return changed

    def then(self, later: RetryPolicyChanges) -> RetryPolicyChanges:
        """These changes, and later ones over them."""
        return replace(self, **_those_set(later))

    def __bool__(self) -> bool:
        changes = (self.max_retries, self.backoff_initial_us, self.backoff_max_us)
        return changes != (None, None, None)


@dataclass(frozen=True, slots=True)
class GroupChanges:
    """Changes to the settings of a group. What is None stays as it is.

    Attributes:
        retry_policy: changes to its retry policy.
        limits: its own limits from now on; empty to follow the topic.
        keys: its own key policy from now on; the default one to follow the topic.
    """

    retry_policy: RetryPolicyChanges = field(default_factory=RetryPolicyChanges)
    limits: Limits | None = None
    keys: KeyPolicy | None = None

    def over(self, config: TopicConfig) -> TopicConfig:
        """The settings in force for a group of a topic with these settings, without checks, as
        ``RetryPolicyChanges.over``.
        """
        if not self:
            return config
        return replace(
            config,
            retry_policy=self.retry_policy.over(config.retry_policy),
            limits=self.limits or config.limits,
            keys=self.keys or config.keys,
        )

    def then(self, later: GroupChanges) -> GroupChanges:
        """These changes, and later ones over them."""
        return replace(self, **_those_set(later) | {"retry_policy": self.retry_policy.then(later.retry_policy)})

    def __bool__(self) -> bool:
        return bool(self.retry_policy or self.limits or self.keys)


@dataclass(frozen=True, slots=True)
class TopicChanges:
    """Changes to the settings of a topic. A setting that is None stays as it is. ``limits`` and ``keys`` replace the
    previous ones as a whole.
    """

    retry_policy: RetryPolicyChanges = field(default_factory=RetryPolicyChanges)
    lease_us: int | None = None
    max_queued: int | None = None
    dead_letter_retention_us: int | None = None
    dedupe_window_us: int | None = None
    partitions: int | None = None
    limits: Limits | None = None
    keys: KeyPolicy | None = None

    def over(self, config: TopicConfig) -> TopicConfig:
        """The settings with these changes, without checks, as ``RetryPolicyChanges.over``."""
        changed = _those_set(self)
        if len(changed) == 1 and not self.retry_policy:  # the policy is always set
            return config
        return replace(config, **changed | {"retry_policy": self.retry_policy.over(config.retry_policy)})

    def applied_to(self, config: TopicConfig) -> TopicConfig:
        """The settings with these changes, checked.

        Raises:
            InvalidArgument: as ``RetryPolicyChanges.applied_to``.
        """
        self.retry_policy.applied_to(config.retry_policy)
        return self.over(config)

    def for_group(self) -> GroupChanges:
        """Those of the changes that a group can have of its own."""
        return GroupChanges(self.retry_policy, self.limits, self.keys)

    def then(self, later: TopicChanges) -> TopicChanges:
        """These changes, and later ones over them."""
        return replace(self, **_those_set(later) | {"retry_policy": self.retry_policy.then(later.retry_policy)})

    def __bool__(self) -> bool:
        return bool(self.retry_policy) or len(_those_set(self)) > 1  # the policy is always set


def _those_set(changes: RetryPolicyChanges | TopicChanges | GroupChanges) -> dict[str, Any]:
    """The fields that are not None."""
    return {name: value for name in changes.__slots__ if (value := getattr(changes, name)) is not None}


# --- events -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class NewDueTime:
    """When events become due: ``delay_us`` from now, or at ``deliver_at_us``. One of them is set."""

    delay_us: int | None = None
    deliver_at_us: int | None = None


@dataclass(frozen=True, slots=True)
class CancelAnswer:
    """The result of a cancellation.

    Attributes:
        cancelled: how many events lost at least one scheduled, ready or blocked copy.
        leased_event_ids: events with a leased or dead copy, which was left alone; in request order.
        missing_event_ids: events that the topic, or the named group, does not hold; in request order.
    """

    cancelled: int
    leased_event_ids: Sequence[str] = ()
    missing_event_ids: Sequence[str] = ()


# --- dead letters -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class DeadLetterFilter:
    """Selects the dead letters of a group that meet every condition that is set.

    Attributes:
        event_ids: only these; empty means any. An id that is not a dead letter of the group selects nothing.
        error_contains: only those whose last error contains this text.
        min_age_us: only those that had been dead for at least this long when the first step began.
        key: only those with this key; empty means any.
    """

    event_ids: Sequence[str] = ()
    error_contains: str = ""
    min_age_us: int = 0
    key: str = ""


@dataclass(frozen=True, slots=True)
class DeadLetterStep:
    """One bounded step through the dead letters of a group, in the order in which they died.

    The first step has only a limit and a rate. ``DeadLetterProgress.next_step`` makes the others.

    Attributes:
        limit: how many dead letters to examine at most.
        rate: redriven events become due at this rate, in events a second, from ``began_us`` on; 0 is all at once.
        began_us: when the first step was made, by the engine's clock; None in the first step. Events that died later
            are left alone: a redriven event that dies again meanwhile is not redriven twice.
        moved: how many dead letters the earlier steps moved.
        cursor: where the previous step ended; None at the beginning. Opaque.
    """

    limit: int
    rate: float = 0.0
    began_us: int | None = None
    moved: int = 0
    cursor: str | None = None

    def due_us(self, index: int, began_us: int) -> int:
        """When the event that the step moves as number ``index`` (from 0) is due at this rate."""
        if not self.rate:
            return began_us
        return began_us + int((self.moved + index) * SECOND / self.rate)


@dataclass(frozen=True, slots=True)
class DeadLetterProgress:
    """The result of a step.

    Attributes:
        moved: how many dead letters the step moved.
        began_us: when the first step was made.
        cursor: where the next step begins; None when this was the last.
    """

    moved: int
    began_us: int
    cursor: str | None

    def next_step(self, step: DeadLetterStep) -> DeadLetterStep | None:
        """The step after ``step``, which made this progress; None after the last one."""
        if self.cursor is None:
            return None
        return replace(step, began_us=self.began_us, moved=step.moved + self.moved, cursor=self.cursor)
