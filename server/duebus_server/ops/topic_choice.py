"""Chooses the topics and groups that have gauges of their own: those in the most trouble."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from heapq import heappush, heappushpop, nlargest
from itertools import zip_longest
from operator import attrgetter
from typing import TYPE_CHECKING

from duebus_server.domain.clock import SECOND
from duebus_server.domain.group_names import is_new_each_time
from duebus_server.domain.states import EventState
from duebus_server.ops.labels import EPHEMERAL, GROUPS_OF_A_TOPIC, OTHER

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable

    from duebus_server.domain.views import GroupInfo, TopicInfo


@dataclass(slots=True)
class GroupFigures:
    """One group, or several groups together.

    Attributes:
        events: how many there are, by state.
        stuck_age_s: the age of the oldest ready event, where nothing was delivered in the last minute although neither
            a pause nor a limit holds the group up.
        oldest_ready_age_s: the age of the oldest ready event; 0 in a paused group, where nothing is late.
        oldest_blocked_age_s: the same of blocked events.
        oldest_lease_age_s: how long the oldest lease has lasted.
        nacked_per_s: how many deliveries were nacked a second, in the last minute.
        paused: how many groups are paused.
        paused_ready: how many ready events these have.
        throttled: how many groups a limit or a pause holds up.
        max_in_flight: the limit of one group; 0 where it has none, and of several groups.
        subscribers: open streams.
        in_flight: events that they hold.
    """

    events: dict[EventState, int] = field(default_factory=lambda: dict.fromkeys(EventState, 0))
    stuck_age_s: float = 0.0
    oldest_ready_age_s: float = 0.0
    oldest_blocked_age_s: float = 0.0
    oldest_lease_age_s: float = 0.0
    nacked_per_s: float = 0.0
    paused: int = 0
    paused_ready: int = 0
    throttled: int = 0
    max_in_flight: int = 0
    subscribers: int = 0
    in_flight: int = 0

    @classmethod
    def of(cls, info: GroupInfo) -> GroupFigures:
        """The figures of a group."""
        is_throttled = info.throttled_until_us is not None
        ready_age_s = 0.0 if info.paused else (info.oldest_ready_age_us or 0) / SECOND
        return cls(
            dict(info.counts),
            0.0 if is_throttled or info.rates.delivered else ready_age_s,
            ready_age_s,
            0.0 if info.paused else (info.oldest_blocked_age_us or 0) / SECOND,
            (info.oldest_lease_age_us or 0) / SECOND,
            info.rates.nacked,
            int(info.paused),
            info.counts[EventState.READY] if info.paused else 0,
            int(is_throttled),
            info.limits.max_in_flight,
            len(info.subscribers),
            sum([subscriber.in_flight for subscriber in info.subscribers]),
        )

    def add(self, other: GroupFigures) -> None:
        """Add groups: numbers add up, and the greater ages count."""
        for state, count in other.events.items():
            self.events[state] += count
        self.stuck_age_s = max(self.stuck_age_s, other.stuck_age_s)
        self.oldest_ready_age_s = max(self.oldest_ready_age_s, other.oldest_ready_age_s)
        self.oldest_blocked_age_s = max(self.oldest_blocked_age_s, other.oldest_blocked_age_s)
        self.oldest_lease_age_s = max(self.oldest_lease_age_s, other.oldest_lease_age_s)
        self.nacked_per_s += other.nacked_per_s
        self.paused += other.paused
        self.paused_ready += other.paused_ready
        self.throttled += other.throttled
        self.subscribers += other.subscribers
        self.in_flight += other.in_flight

    def subtract_numbers(self, other: GroupFigures) -> None:
        """Take the numbers of some groups out of these. Ages stay."""
        for state, count in other.events.items():
            self.events[state] -= count
        for number in NUMBERS:
            setattr(self, number, getattr(self, number) - getattr(other, number))

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to add to others."""
        return not (any(self.events.values()) or any(of_numbers(self)))

    @property
    def dead(self) -> int:
        """How many dead letters there are."""
        return self.events[EventState.DEAD]

    @property
    def waiting(self) -> int:
        """How many events are due and not leased."""
        return self.events[EventState.READY] + self.events[EventState.BLOCKED]


AGES = ("stuck_age_s", "oldest_ready_age_s", "oldest_blocked_age_s", "oldest_lease_age_s")
NUMBERS = ("nacked_per_s", "paused", "paused_ready", "throttled", "subscribers", "in_flight")

of_numbers: Callable[[GroupFigures], tuple[float, ...]] = attrgetter(*NUMBERS)

TROUBLES = (*AGES, "dead", "waiting", "nacked_per_s", "paused_ready")
"""What trouble of a group is, as names of its figures."""

of_trouble: Callable[[GroupFigures], tuple[float, ...]] = attrgetter(*TROUBLES)

Figures = dict[tuple[str, str], GroupFigures]
"""By the labels of topic and group."""

Ranked = tuple[float, bool, int, "TopicFigures"]
"""How much trouble a topic is in, whether it was chosen last time, its place in reverse order, and the topic."""


class TopicFigures:
    """A topic.

    Attributes:
        queued: how many events it holds, dead letters not counted.
        max_queued: how many it may hold; 0 is unlimited.
        total: all its groups together.
    """

    __slots__ = ("groups", "max_queued", "name", "queued", "total")

    def __init__(self, info: TopicInfo) -> None:
        self.name = info.topic
        self.queued, self.max_queued = info.queued, info.config.max_queued
        self.groups = [(group.group, GroupFigures.of(group)) for group in info.groups]
        if len(self.groups) == 1:  # as most topics have
            self.total = self.groups[0][1]
            return
        self.total = GroupFigures()
        for _, group in self.groups:
            self.total.add(group)

    def troubles(self) -> tuple[float, ...]:
        """What trouble is. Topics are chosen by each in turn, from the greatest on, so that none hides the others."""
        return (*of_trouble(self.total), self.queued / self.max_queued if self.max_queued else 0.0)

    def by_label(self) -> Figures:
        """The figures of its groups, of which those with the oldest events have labels of their own."""
        found: defaultdict[tuple[str, str], GroupFigures] = defaultdict(GroupFigures)
        named = [one for one in self.groups if not is_new_each_time(one[0])]
        shown = {name for name, _ in nlargest(GROUPS_OF_A_TOPIC, named, key=lambda one: of_trouble(one[1]))}
        for name, figures in self.groups:
            if name in shown:
                found[self.name, name] = figures
            else:
                found[self.name, EPHEMERAL if is_new_each_time(name) else OTHER].add(figures)
        return found


class TopicChoice:
    """Takes all topics of an engine, one after the other, and keeps those that have gauges of their own.

    Its memory does not grow with the number of topics.

    Args:
        most: how many topics have gauges of their own.
        before: the topics chosen last time, which are preferred to others in no more trouble.
    """

    def __init__(self, most: int, before: Collection[str]) -> None:
        self._most = most
        self._before = before
        self._count = 0
        self._all = GroupFigures()
        # By each kind of trouble the topics in the most, one more than are shown: the first of the others.
        self._rankings: list[list[Ranked]] = [[] for _ in (*TROUBLES, "full")]

    def add(self, topics: Iterable[TopicFigures]) -> None:
        """Add topics, in order of their names."""
        for topic in topics:
            self._count += 1
            if not topic.total.is_empty:
                self._all.add(topic.total)
            was_chosen, number, troubles = topic.name in self._before, -self._count, topic.troubles()
            if self._count > self._most + 1 and not was_chosen and not any(troubles):
                continue  # as most topics: the rankings have others that come first
            for trouble, ranking in zip(troubles, self._rankings, strict=True):
                if len(ranking) <= self._most:
                    heappush(ranking, (trouble, was_chosen, number, topic))
                elif trouble >= ranking[0][0]:
                    heappushpop(ranking, (trouble, was_chosen, number, topic))

    def chosen(self) -> list[TopicFigures]:
        """The topics that have gauges of their own. Without trouble, they are the first by name."""
        rankings = [sorted(ranking, reverse=True) for ranking in self._rankings]
        troubled = [[each for each in ranking if each[0]] for ranking in rankings]
        found: dict[str, TopicFigures] = {}
        for each in (*_in_turn(troubled), *_in_turn(rankings)):
            if len(found) < self._most:
                found[each.name] = each
        return list(found.values())

    def figures(self, chosen: Collection[TopicFigures]) -> Figures:
        """The figures of the chosen topics, and under ``other`` those of the rest: the sums, and the greatest ages."""
        found: Figures = {}
        for topic in chosen:
            found |= topic.by_label()
        if self._count > len(chosen):
            found[OTHER, OTHER] = self._others({topic.name for topic in chosen})
        return found

    def _others(self, chosen: Collection[str]) -> GroupFigures:
        ranked = {each.name: each for ranking in self._rankings for *_, each in ranking}
        rest, left = self._all, [each.total for name, each in ranked.items() if name not in chosen]
        for name in ranked.keys() & chosen:
            rest.subtract_numbers(ranked[name].total)
        for age in AGES:
            setattr(rest, age, max(getattr(each, age) for each in left))
        return rest


def _in_turn(rankings: Iterable[list[Ranked]]) -> list[TopicFigures]:
    """The first of each ranking, then the second of each, and so on."""
    return [each[-1] for some in zip_longest(*rankings) for each in some if each is not None]
