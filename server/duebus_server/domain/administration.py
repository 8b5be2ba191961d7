"""What operators ask for: changed settings, other due times, dead letters to redrive or purge.

All times and durations are integer microseconds.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any

from duebus_server.domain.clock import SECOND
from duebus_server.domain.errors import InvalidArgument

if TYPE_CHECKING:
    from collections.abc import Sequence

    from duebus_server.domain.retry import RetryPolicy
    from duebus_server.domain.views import TopicConfig


# --- settings ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class RetryPolicyChanges:
    """The settings of a retry policy that are to differ from those it stands on; None leaves one as it is."""

    max_retries: int | None = None
    backoff_initial_us: int | None = None
    backoff_max_us: int | None = None

    def over(self, policy: RetryPolicy) -> RetryPolicy:
        """The policy with these changes, for reading: ``policy`` may have changed since they were accepted, and where
        they no longer agree, the backoff's maximum holds.
        """
        return replace(policy, **_those_set(self))

    def applied_to(self, policy: RetryPolicy) -> RetryPolicy:
        """The policy with these changes, for accepting them.

        Raises:
            InvalidArgument: the backoff's maximum would be less than where it starts.
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
        """These changes and later ones together; where both set something, the later holds."""
        return replace(self, **_those_set(later))

    def __bool__(self) -> bool:
        return bool(_those_set(self))


@dataclass(frozen=True, slots=True)
class TopicChanges:
    """The settings of a topic that are to differ from the server's defaults; None leaves one as it is."""

    retry_policy: RetryPolicyChanges = field(default_factory=RetryPolicyChanges)
    lease_us: int | None = None
    max_queued: int | None = None
    dead_letter_retention_us: int | None = None
    dedupe_window_us: int | None = None
    partitions: int | None = None

    def over(self, config: TopicConfig) -> TopicConfig:
        """The settings with these changes, for reading; as ``RetryPolicyChanges.over``."""
        return replace(config, **_those_set(self) | {"retry_policy": self.retry_policy.over(config.retry_policy)})

    def applied_to(self, config: TopicConfig) -> TopicConfig:
        """The settings with these changes, for accepting them.

        Raises:
            InvalidArgument: as ``RetryPolicyChanges.applied_to``.
        """
        self.retry_policy.applied_to(config.retry_policy)
        return self.over(config)

    def then(self, later: TopicChanges) -> TopicChanges:
        """These changes and later ones together; where both set something, the later holds."""
        return replace(self, **_those_set(later) | {"retry_policy": self.retry_policy.then(later.retry_policy)})

    def __bool__(self) -> bool:
        return bool(self.retry_policy) or len(_those_set(self)) > 1  # the policy is always set


def _those_set(changes: RetryPolicyChanges | TopicChanges) -> dict[str, Any]:
    """The fields that are not None."""
    values = {one.name: getattr(changes, one.name) for one in fields(changes)}
    return {name: value for name, value in values.items() if value is not None}


# --- events -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class NewDueTime:
    """When events are to be due: ``delay_us`` from now, or at ``deliver_at_us``. One of them is set."""

    delay_us: int | None = None
    deliver_at_us: int | None = None


@dataclass(frozen=True, slots=True)
class CancelAnswer:
    """What became of events that were to be cancelled.

    Attributes:
        cancelled: so many lost at least one copy that waited.
        leased_event_ids: those of which a copy was leased or dead, and was left alone; in request order.
        missing_event_ids: those that the topic, or the group that was named, does not hold; in request order.
    """

    cancelled: int
    leased_event_ids: Sequence[str] = ()
    missing_event_ids: Sequence[str] = ()


# --- dead letters -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class DeadLetterFilter:
    """Chooses dead letters of a group: those that meet every condition that is set.

    Attributes:
        event_ids: only these; empty sets no condition. An id that is no dead letter of the group chooses nothing.
        error_contains: only those whose last error contains this text.
        min_age_us: only those that had been dead for at least this long when the first step began.
    """

    event_ids: Sequence[str] = ()
    error_contains: str = ""
    min_age_us: int = 0


@dataclass(frozen=True, slots=True)
class DeadLetterStep:
    """One bounded step through the dead letters of a group, from the longest dead on.

    The first step has nothing but a limit, and a rate. Each further one is made by ``DeadLetterProgress.next_step``.

    Attributes:
        limit: looks at so many dead letters at the most.
        rate: redriven events become due at this rate, in events a second, from ``began_us`` on; 0 is all at once.
        began_us: when the first step was made, by the engine's clock; None in the first step. What died later is left
            alone: a redriven event that dies again meanwhile is not redriven twice.
        moved: so many were moved by the steps before.
        cursor: behind what the step before has looked at; None at the beginning. Opaque.
    """

    limit: int
    rate: float = 0.0
    began_us: int | None = None
    moved: int = 0
    cursor: str | None = None

    def due_us(self, place: int, began_us: int) -> int:
        """When the event at this place (0 is the first) among those that the step moves is due, by the rate."""
        if not self.rate:
            return began_us
        return began_us + int((self.moved + place) * SECOND / self.rate)


@dataclass(frozen=True, slots=True)
class DeadLetterProgress:
    """What a step has done.

    Attributes:
        moved: so many dead letters were moved by this step.
        began_us: when the first step was made.
        cursor: where the next step begins; None when this was the last.
    """

    moved: int
    began_us: int
    cursor: str | None

    def next_step(self, step: DeadLetterStep) -> DeadLetterStep | None:
        """The step after ``step``, of which this is the progress; None when there is nothing more to look at."""
        if self.cursor is None:
            return None
        return replace(step, began_us=self.began_us, moved=step.moved + self.moved, cursor=self.cursor)
