"""Gauges of what the engines hold, read at each scrape through the views that the admin service uses."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import structlog
from prometheus_client.core import GaugeMetricFamily

from duebus_server.domain.clock import SECOND
from duebus_server.domain.errors import DueBusError
from duebus_server.domain.states import EventState

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from duebus_server.domain.views import GroupInfo, TopicInfo
    from duebus_server.engine.base import Engine
    from duebus_server.ops.labels import Labels

ANSWER_S = 2.0
"""An engine that takes longer is left out of the scrape."""

GROUP = ("engine", "topic", "group")

log = structlog.get_logger()


@dataclass(slots=True)
class GroupFigures:
    """One group, or all groups without their own metrics."""

    events: dict[EventState, int] = field(default_factory=lambda: dict.fromkeys(EventState, 0))
    oldest_ready_age_s: float = 0.0
    oldest_blocked_age_s: float = 0.0
    subscribers: int = 0
    in_flight: int = 0

    def add(self, info: GroupInfo) -> None:
        """Add a group."""
        for state, count in info.counts.items():
            self.events[state] += count
        self.oldest_ready_age_s = max(self.oldest_ready_age_s, (info.oldest_ready_age_us or 0) / SECOND)
        self.oldest_blocked_age_s = max(self.oldest_blocked_age_s, (info.oldest_blocked_age_us or 0) / SECOND)
        self.subscribers += len(info.subscribers)
        self.in_flight += sum(subscriber.in_flight for subscriber in info.subscribers)


Figures = dict[tuple[str, str, str], GroupFigures]


class Gauges:
    """A collector for prometheus_client that returns what was gathered last.

    Args:
        labels: which topics and groups have their own metrics.
        topics: how many topics of an engine are read at most.
    """

    def __init__(self, labels: Labels, topics: int) -> None:
        self._labels = labels
        self._topics = topics
        self._figures: Figures = {}
        self._up: dict[str, int] = {}

    async def gather(self, engines: Sequence[Engine]) -> None:
        """Read all engines concurrently."""
        gathered = await asyncio.gather(*map(self._topics_of, engines))
        self._up = {engine.name: int(topics is not None) for engine, topics in zip(engines, gathered, strict=True)}
        figures: Figures = defaultdict(GroupFigures)
        for engine, topics in zip(engines, gathered, strict=True):
            for topic in topics or ():
                for group in topic.groups:
                    figures[engine.name, *self._labels.group(topic.topic, group.group)].add(group)
        self._figures = figures

    async def _topics_of(self, engine: Engine) -> list[TopicInfo] | None:
        """The topics of an engine; None if it doesn't answer."""
        try:
            async with asyncio.timeout(ANSWER_S):
                await engine.check()
                return await engine.list_topics("", self._topics) if self._topics else []
        except (DueBusError, TimeoutError) as error:
            log.warning("engine left out of the metrics", engine=engine.name, error=str(error) or "no answer in time")
            return None

    def describe(self) -> Iterable[GaugeMetricFamily]:
        """Their names, for the registry."""
        return self.collect()

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """What was gathered last."""
        up = GaugeMetricFamily("duebus_engine_up", "1 when the engine works, 0 when it does not.", labels=("engine",))
        for engine, value in self._up.items():
            up.add_metric((engine,), value)
        yield up
        events = GaugeMetricFamily("duebus_group_events", "Events of a group, by state.", labels=(*GROUP, "state"))
        for labels, figures in self._figures.items():
            for state, count in figures.events.items():
                events.add_metric((*labels, state), count)
        yield events
        yield self._gauge(
            "duebus_oldest_ready_age_seconds",
            "How long the oldest ready event has been due; 0 when none is ready.",
            lambda figures: figures.oldest_ready_age_s,
        )
        yield self._gauge(
            "duebus_oldest_blocked_age_seconds",
            "How long the oldest blocked event has been due; 0 when none is blocked.",
            lambda figures: figures.oldest_blocked_age_s,
        )
        yield self._gauge(
            "duebus_subscribers", "Open streams of the group, on all replicas.", lambda figures: figures.subscribers
        )
        yield self._gauge(
            "duebus_in_flight", "Events that subscribers hold, on all replicas.", lambda figures: figures.in_flight
        )

    def _gauge(self, name: str, documentation: str, value: Callable[[GroupFigures], float]) -> GaugeMetricFamily:
        family = GaugeMetricFamily(name, documentation, labels=GROUP)
        for labels, figures in self._figures.items():
            family.add_metric(labels, value(figures))
        return family
