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
    """One group, or several groups together."""

    events: dict[EventState, int] = field(default_factory=lambda: dict.fromkeys(EventState, 0))
    oldest_ready_age_s: float = 0.0
    oldest_blocked_age_s: float = 0.0
    subscribers: int = 0
    in_flight: int = 0
    throttled: int = 0

    @classmethod
    def of(cls, info: GroupInfo) -> GroupFigures:
        """The figures of a group."""
        return cls(
            dict(info.counts),
            (info.oldest_ready_age_us or 0) / SECOND,
            (info.oldest_blocked_age_us or 0) / SECOND,
            len(info.subscribers),
            sum([subscriber.in_flight for subscriber in info.subscribers]),
            int(info.throttled_until_us is not None),
        )

    def add(self, other: GroupFigures) -> None:
        """Add groups: numbers add up, and the greater ages count."""
        for state, count in other.events.items():
            self.events[state] += count
        self.oldest_ready_age_s = max(self.oldest_ready_age_s, other.oldest_ready_age_s)
        self.oldest_blocked_age_s = max(self.oldest_blocked_age_s, other.oldest_blocked_age_s)
        self.subscribers += other.subscribers
        self.in_flight += other.in_flight
        self.throttled += other.throttled

    @property
    def dead(self) -> int:
        """How many dead letters there are."""
        return self.events[EventState.DEAD]

    @property
    def waiting(self) -> int:
        """How many events are due and not leased."""
        return self.events[EventState.READY] + self.events[EventState.BLOCKED]


MEASURES: tuple[Callable[[GroupFigures], float], ...] = tuple(
    map(attrgetter, ("oldest_ready_age_s", "oldest_blocked_age_s", "dead", "waiting"))
)
"""What trouble is. Topics are chosen by each in turn, from the greatest on, so that none hides the others."""

Figures = dict[tuple[str, str], GroupFigures]
"""By the labels of topic and group."""


class TopicFigures:
    """A topic.

    Attributes:
        total: all its groups together.
    """

    __slots__ = ("groups", "name", "total")

    def __init__(self, info: TopicInfo) -> None:
        self.name = info.topic
        self.groups = [(group.group, GroupFigures.of(group)) for group in info.groups]
        self.total = GroupFigures()
        for _, group in self.groups:
            self.total.add(group)

    def by_label(self) -> Figures:
        """The figures of its groups, of which those with the oldest events have labels of their own."""
        found: defaultdict[tuple[str, str], GroupFigures] = defaultdict(GroupFigures)
        named = [one for one in self.groups if not is_new_each_time(one[0])]
        shown = {name for name, _ in nlargest(GROUPS_OF_A_TOPIC, named, key=_trouble_of_group)}
        for name, figures in self.groups:
            label = name if name in shown else EPHEMERAL if is_new_each_time(name) else OTHER
            found[self.name, label].add(figures)
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
        # By each measure the topics in the most trouble, one more than are shown: the first of the others.
        self._rankings: list[list[tuple[float, bool, int, TopicFigures]]] = [[] for _ in MEASURES]

    def add(self, topics: Iterable[TopicFigures]) -> None:
        """Add topics, in order of their names."""
        for topic in topics:
            self._count += 1
            self._all.add(topic.total)
            for measure, ranking in zip(MEASURES, self._rankings, strict=True):
                push = heappush if len(ranking) <= self._most else heappushpop
                push(ranking, (measure(topic.total), topic.name in self._before, -self._count, topic))

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
        rest = self._all
        left = {each.name: each for ranking in self._rankings for *_, each in ranking if each.name not in chosen}
        shown = {each.name: each for ranking in self._rankings for *_, each in ranking if each.name in chosen}
        for topic in shown.values():
            for state, count in topic.total.events.items():
                rest.events[state] -= count
            rest.subscribers -= topic.total.subscribers
            rest.in_flight -= topic.total.in_flight
            rest.throttled -= topic.total.throttled
        rest.oldest_ready_age_s = max([each.total.oldest_ready_age_s for each in left.values()])
        rest.oldest_blocked_age_s = max([each.total.oldest_blocked_age_s for each in left.values()])
        return rest


def _trouble_of_group(named: tuple[str, GroupFigures]) -> tuple[float, ...]:
    return tuple(measure(named[1]) for measure in MEASURES)


def _in_turn(rankings: Iterable[list[tuple[float, bool, int, TopicFigures]]]) -> list[TopicFigures]:
    """The first of each ranking, then the second of each, and so on."""
    return [each[-1] for some in zip_longest(*rankings) for each in some if each is not None]
