"""Limits of what a group, or one of its keys, may be delivered, and the arithmetic of its rates.

A rate is kept by the generic cell rate algorithm (GCRA). It needs one number: the theoretical arrival time, ``tat``, at
which everything that has begun would have begun if it had been spread out evenly. 0 stands for any time in the past.

All times and durations are integer microseconds.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from duebus_server.domain.clock import MILLISECOND

BURST_US = 100 * MILLISECOND
"""How long a burst lasts at its rate, if the rate does not say how many events it has."""

NO_TAT = 0
"""The ``tat`` of what has been idle: it may begin a whole burst."""


@dataclass(frozen=True, slots=True)
class Rate:
    """How many deliveries may begin in a period.

    Attributes:
        events: how many.
        per_us: the length of the period.
        burst: how many may begin at once after a pause; 0 for what may begin in ``BURST_US``, and at least 1.
    """

    events: int
    per_us: int
    burst: int = 0

    @property
    def window_us(self) -> int:
        """How far ``tat`` may be ahead of the clock: what a burst takes."""
        return self.cost_us(self.burst or max(1, self.events * BURST_US // self.per_us))

    def cost_us(self, count: int) -> int:
        """How long this many events take, rounded up, so that the rate is never exceeded."""
        return -(-count * self.per_us // self.events)

    def allows(self, tat_us: int, now_us: int) -> int:
        """How many may begin now."""
        return max(0, (now_us + self.window_us - self._base_us(tat_us, now_us)) * self.events // self.per_us)

    def begun(self, tat_us: int, now_us: int, count: int) -> int:
        """The new ``tat`` after this many began.

        More may have begun than the rate allows, as events that were let in before it was set. Even so, ``tat`` stays
        within the window, since one beyond it does not count.
        """
        begun_us = self._base_us(tat_us, now_us) + self.cost_us(count)
        return min(begun_us, now_us + self.window_us) if count else tat_us

    def refunded(self, tat_us: int, now_us: int) -> int:
        """The new ``tat`` after one that began is released."""
        return current(tat_us - self.per_us // self.events, now_us)

    def opens_us(self, tat_us: int, now_us: int) -> int:
        """When the next may begin; ``now_us`` or earlier if it may now."""
        return self._base_us(tat_us, now_us) + self.cost_us(1) - self.window_us

    def allows_until(self, tat_us: int, now_us: int, from_us: int, until_us: int) -> int:
        """How many may begin between two times that are not in the past."""
        start_us = max(self._base_us(tat_us, now_us), from_us)
        return max(0, (until_us + self.window_us - start_us) * self.events // self.per_us)

    def _base_us(self, tat_us: int, now_us: int) -> int:
        """Where the next cost is added: ``tat``, or now if it has passed.

        One that passed less than half a cost ago counts, since a wake-up is always a little late: otherwise each would
        make the rate slower. One that is too far ahead is of a slower rate, or from before the clock was set back: it
        does not count, so that a changed rate begins afresh.
        """
        return tat_us if now_us - self.cost_us(1) // 2 < tat_us <= now_us + self.window_us else now_us


def current(tat_us: int, now_us: int) -> int:
    """``tat``, or NO_TAT once it has passed."""
    return tat_us if tat_us > now_us else NO_TAT


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits of a group, over all its sessions and replicas. False if it has no limit.

    Attributes:
        max_in_flight: how many deliveries may be under way at once; 0 is unlimited.
        rate: how many may begin in a period; None is unlimited.
    """

    max_in_flight: int = 0
    rate: Rate | None = None

    def __bool__(self) -> bool:
        return self != NO_LIMITS


NO_LIMITS = Limits()


class OnDead(StrEnum):
    """What happens to a key when one of its events becomes dead."""

    SKIP = "skip"
    """The next event of the key is delivered."""
    HOLD = "hold"
    """Nothing of the key is delivered until the dead letter is redriven or purged."""


@dataclass(frozen=True, slots=True)
class KeyPolicy:
    """How a group handles the events with the same key. False if it is the default.

    Attributes:
        max_in_flight: how many of a key may be under way at once. 1, and None, is in order; more is in no order; with
            0, keys are ignored.
        rate: how many deliveries of a key may begin in a period; None is unlimited.
        on_dead: what a dead letter does to its key. HOLD only if ``max_in_flight`` is 1.
        max_blocked: how many events of a key may be blocked; 0 for a share of the topic's ``max_queued``.
    """

    max_in_flight: int | None = None
    rate: Rate | None = None
    on_dead: OnDead = OnDead.SKIP
    max_blocked: int = 0

    @property
    def slots(self) -> int:
        """How many events of a key may be under way at once; 0 if keys are ignored."""
        return 1 if self.max_in_flight is None else self.max_in_flight

    @property
    def keeps_order(self) -> bool:
        """Whether the events of a key are delivered one at a time."""
        return self.slots == 1

    @property
    def holds(self) -> bool:
        """Whether a dead letter closes its key."""
        return self.on_dead is OnDead.HOLD

    def __bool__(self) -> bool:
        return self != DEFAULT_KEY_POLICY


DEFAULT_KEY_POLICY = KeyPolicy()
