"""What topics and groups did in each of the last minutes, and how late deliveries were.

Minutes are numbered: how many have passed since the Unix epoch. All times and durations are integer microseconds.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from duebus_server.domain.clock import MINUTE

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from duebus_server.domain.model import LeasedEvent

KEPT_MINUTES = 60
"""How many minutes are kept, including the current one."""

LATENESS_MINUTES = 5
"""How many minutes the lateness of a group covers, including the current one."""

BUCKETS = 26
FINEST_US = 512
_FINEST_BITS = FINEST_US.bit_length() - 1
"""Deliveries are counted by lateness in buckets: the first is up to FINEST_US, each other one twice as wide as the one
before. The last one, which begins after 2.4 hours, has no end."""

_BEFORE_LATENESS = 5
"""How many counts precede the lateness in the text of a tally."""

SAMPLED = 16
"""Of a batch of deliveries, the lateness of about this many is looked at; they stand for the others."""


def minute_of(at_us: int) -> int:
    """The number of the minute that a time is in."""
    return at_us // MINUTE


@dataclass(frozen=True, slots=True)
class Lateness:
    """How late deliveries were: how many in each bucket. False if there were none."""

    buckets: Sequence[int] = ()

    def quantile_us(self, share: float) -> int:
        """The lateness that this share of the deliveries does not exceed, by interpolation within its bucket."""
        left = share * sum(self.buckets)
        for bucket, count in enumerate(self.buckets):
            if count and left <= count:
                start_us = FINEST_US << bucket - 1 if bucket else 0
                return start_us + round(((FINEST_US << bucket) - start_us) * left / count)
            left -= count
        return 0

    def __bool__(self) -> bool:
        return any(self.buckets)


NOT_DELIVERED = Lateness()
"""Where there were no deliveries."""


def sum_of_lateness(some: Iterable[Lateness]) -> Lateness:
    """The lateness of all these deliveries."""
    sums = [0] * BUCKETS
    for one in some:
        for bucket, count in enumerate(one.buckets[:BUCKETS]):
            sums[bucket] += count
    return Lateness(sums)


def lateness_of(texts: Sequence[str]) -> Lateness:
    """That of some minutes, from the texts of their tallies."""
    if not texts:
        return NOT_DELIVERED
    counts = [[int(word) for word in text.split()[_BEFORE_LATENESS:] if word.isdecimal()] for text in texts]
    return sum_of_lateness(map(Lateness, counts))


class Tally:
    """What happened in one minute, in a topic or a group.

    Attributes:
        dispatched: events that were stored; in the tally of a topic.
        delivered: events that were leased to a subscriber.
        acked: events that were acked.
        nacked: events that were given back: to be retried, dead or released.
        dead: events that became dead letters.
        lateness: how many deliveries were in each bucket.
    """

    __slots__ = ("acked", "dead", "delivered", "dispatched", "lateness", "nacked")

    def __init__(self) -> None:
        self.dispatched = self.delivered = self.acked = self.nacked = self.dead = 0
        self.lateness = [0] * BUCKETS

    def add_delivered(self, events: Sequence[LeasedEvent], now_us: int) -> None:
        """Count events that were leased at ``now_us``."""
        self.delivered += len(events)
        step = len(events) // SAMPLED or 1
        for event in events[::step]:
            late_us = max(0, now_us - event.deliver_at_us)
            self.lateness[min((late_us >> _FINEST_BITS).bit_length(), BUCKETS - 1)] += step

    @property
    def text(self) -> str:
        """All counts, separated by spaces, without the zeros at the end."""
        counts = [self.dispatched, self.delivered, self.acked, self.nacked, self.dead, *self.lateness]
        while counts and not counts[-1]:
            counts.pop()
        return " ".join(map(str, counts))

    @classmethod
    def of_text(cls, text: str) -> Tally:
        """The counts of such a text; what is not a text of counts has none."""
        counts = [int(word) for word in text.split() if word.isdecimal()]
        counts += [0] * (_BEFORE_LATENESS + BUCKETS - len(counts))
        tally = cls()
        tally.dispatched, tally.delivered, tally.acked, tally.nacked, tally.dead = counts[:_BEFORE_LATENESS]
        tally.lateness = counts[_BEFORE_LATENESS : _BEFORE_LATENESS + BUCKETS]
        return tally


NOTHING = Tally()
"""The tally of a minute in which nothing happened."""


class Minutes:
    """The tallies of the last KEPT_MINUTES. Minutes that are over are kept as texts, which need less memory."""

    __slots__ = ("_minute", "_over", "_tally")

    def __init__(self) -> None:
        self._minute = 0
        self._tally: Tally | None = None
        # The texts of the minutes before the current one, without gaps.
        self._over: list[str] = []

    def at(self, now_us: int) -> Tally:
        """The tally to count in at ``now_us``. While a clock that was set back catches up, it stays the same."""
        minute = minute_of(now_us)
        if self._tally is None or minute > self._minute:
            self._turn(minute)
            self._minute, self._tally = minute, Tally()
        return self._tally

    def _turn(self, minute: int) -> None:
        if self._tally is not None:
            self._over += [self._tally.text, *[""] * min(minute - self._minute - 1, KEPT_MINUTES)]
            del self._over[: 1 - KEPT_MINUTES]

    def recent(self, now_us: int) -> dict[int, Tally]:
        """The tallies of the last KEPT_MINUTES in which something happened, by minute."""
        first = minute_of(now_us) - KEPT_MINUTES + 1
        begun = self._minute - len(self._over)
        found = {
            minute: Tally.of_text(text) for minute, text in enumerate(self._over, begun) if text and minute >= first
        }
        if self._tally is not None and self._minute >= first:
            found[self._minute] = self._tally
        return found

    def latest(self, now_us: int) -> Sequence[str]:
        """The texts of the tallies of the last LATENESS_MINUTES in which something happened."""
        if self._tally is None:  # as in most groups of a bus with many
            return ()
        first = minute_of(now_us) - LATENESS_MINUTES + 1
        begun = self._minute - len(self._over)
        texts = [*self._over[max(0, first - begun) :], self._tally.text if self._minute >= first else ""]
        return [text for text in texts if text]


@dataclass(frozen=True, slots=True)
class MinuteOfTopic:
    """One minute of a topic.

    Attributes:
        start_us: when it began.
        dispatched: how many events were stored.
        groups: the tally of each group that did something, by its name.
    """

    start_us: int
    dispatched: int
    groups: Mapping[str, Tally]


def by_minute(topic: Mapping[int, Tally], groups: Mapping[str, Mapping[int, Tally]]) -> list[MinuteOfTopic]:
    """The minutes in which something happened, oldest first, from the tallies of a topic and of its groups."""
    minutes = sorted({*topic, *(minute for tallies in groups.values() for minute in tallies)})
    return [
        MinuteOfTopic(
            minute * MINUTE,
            topic.get(minute, NOTHING).dispatched,
            {name: tallies[minute] for name, tallies in groups.items() if minute in tallies},
        )
        for minute in minutes
    ]
