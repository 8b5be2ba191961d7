"""What an engine holds, in a form that another engine can import.

All times are integer microseconds since the Unix epoch, by the host's clock.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from duebus_server.domain.schedules import ScheduleRecord
from duebus_server.domain.states import EventState
from duebus_server.domain.views import AttemptOutcome

if TYPE_CHECKING:
    from collections.abc import Sequence

    from duebus_server.domain.administration import GroupChanges, TopicChanges
    from duebus_server.domain.views import Attempt


@dataclass(frozen=True, slots=True)
class HeldTopic:
    """A topic, and how its settings differ from the defaults."""

    topic: str
    changes: TopicChanges


@dataclass(frozen=True, slots=True)
class HeldGroup:
    """A lasting group, and how its settings differ from the topic's."""

    topic: str
    group: str
    paused: bool
    changes: GroupChanges


@dataclass(frozen=True, slots=True)
class HeldCopy:
    """The state of an event in one group. Times that do not apply to the state are None.

    Attributes:
        group: empty for what waits for the topic's first group.
        attempts: how many deliveries count, including the one under way.
        free_attempts: how many of those use up no retry, because their lease ran out.
        history: the latest attempts, oldest first, including the one under way.
        pinned: the event has a key and was leased, so no other event of the key is delivered before it is done; or it
            is dead and holds its key.
    """

    group: str
    state: EventState
    deliver_at_us: int
    attempts: int = 0
    free_attempts: int = 0
    last_error: str = ""
    lease_expires_us: int | None = None
    consumer: str = ""
    dead_us: int | None = None
    history: Sequence[Attempt] = ()
    pinned: bool = False

    def released(self, now_us: int) -> HeldCopy:
        """The copy without its lease, as if its holder had released it now. Other states stay as they are."""
        if self.state is not EventState.LEASED:
            return self
        history = [
            replace(one, ended_us=now_us, outcome=AttemptOutcome.RELEASED) if one.ended_us is None else one
            for one in self.history
        ]
        return replace(
            self,
            state=EventState.READY,
            attempts=self.attempts - 1,
            lease_expires_us=None,
            consumer="",
            history=history,
        )


@dataclass(frozen=True, slots=True)
class HeldEvent:
    """An event with its state in each lasting group that is not done with it.

    Attributes:
        body: the event without its id, encoded.
        max_retries: its own; None if the retry policy applies.
        key: events with the same key stay in order; empty for none.
        priority: as in ``NewEvent``.
    """

    topic: str
    event_id: str
    body: bytes
    dispatched_us: int
    origin: str
    max_retries: int | None
    copies: Sequence[HeldCopy]
    key: str = ""
    priority: int = 0


Held = HeldTopic | HeldGroup | HeldEvent | ScheduleRecord
