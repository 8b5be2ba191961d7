"""Gauges of what the engines hold, read through the views that the admin service uses."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import structlog
from prometheus_client.core import GaugeMetricFamily

from duebus_server.domain.errors import DueBusError
from duebus_server.ops.topic_choice import TopicChoice, TopicFigures

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from duebus_server.engine.base import Engine
    from duebus_server.ops.labels import Labels
    from duebus_server.ops.topic_choice import Figures, GroupFigures

ANSWER_S = 2.0
"""How long a scrape waits for an engine. One that does not answer a check in this time is down."""

TOPICS_AT_ONCE = 500
"""How many topics one engine call reads."""

PAUSE = 9
"""The pause after a reading, in multiples of the time that it took: readings take at most a tenth of the time."""

GROUP = ("engine", "topic", "group")

log = structlog.get_logger()


class EngineReading:
    """What one engine holds, as it was last read. A reading that takes longer than a scrape waits goes on behind it.

    Attributes:
        is_up: whether the engine answered the last check.
        figures: of the groups, by the labels of topic and group.
        read_s: when the reading that they are from began, in seconds of the monotonic clock; None before the first, and
            after one that failed.

    Args:
        engine: the engine.
        labels: get labels of their own for the topics in the most trouble.
        topics: how many topics have gauges of their own; 0: nothing is read.
    """

    def __init__(self, engine: Engine, labels: Labels, topics: int) -> None:
        self.is_up = False
        self.figures: Figures = {}
        self.read_s: float | None = None
        self._engine = engine
        self._labels = labels
        self._topics = topics
        self._chosen: frozenset[str] = frozenset()
        self._next_s = float("-inf")
        self._task: asyncio.Task[None] | None = None

    async def refresh(self) -> None:
        """Check the engine, and wait a while for a reading if one is due or under way."""
        if self._task is None and self._topics and time.monotonic() >= self._next_s:
            self._task = asyncio.create_task(self._read(), name="gauges")
        check = asyncio.create_task(self._check())
        await asyncio.wait([check, *([] if self._task is None else [self._task])], timeout=ANSWER_S)
        await check

    async def _check(self) -> None:
        try:
            async with asyncio.timeout(ANSWER_S):
                await self._engine.check()
        except (DueBusError, TimeoutError) as error:
            log.warning("engine is down", engine=self._engine.name, error=str(error) or "no answer in time")
            self.is_up = False
        else:
            self.is_up = True

    async def _read(self) -> None:
        """Read all topics, a page at a time."""
        began_s = time.monotonic()
        try:
            choice = TopicChoice(self._topics, self._chosen)
            after = ""
            while page := await self._engine.list_topics(after, TOPICS_AT_ONCE):
                after = page[-1].topic
                choice.add(map(TopicFigures, page))
        except DueBusError as error:
            log.warning("engine left out of the metrics", engine=self._engine.name, error=str(error))
            self.figures, self.read_s = {}, None
        else:
            chosen = choice.chosen()
            self._chosen = frozenset(topic.name for topic in chosen)
            self.figures, self.read_s = choice.figures(chosen), began_s
            self._labels.add_troubled(self._chosen)
        finally:
            ended_s = time.monotonic()
            self._next_s = ended_s + PAUSE * (ended_s - began_s)
            self._task = None


class Gauges:
    """A collector for prometheus_client that returns what was read last.

    Args:
        labels: which topics have their own counters.
        topics: how many topics of an engine have their own gauges: those in the most trouble.
    """

    def __init__(self, labels: Labels, topics: int) -> None:
        self._labels = labels
        self._topics = topics
        self._readings: dict[str, EngineReading] = {}

    def watch(self, engines: Sequence[Engine]) -> None:
        """Read these engines."""
        self._readings = {engine.name: EngineReading(engine, self._labels, self._topics) for engine in engines}

    async def gather(self) -> None:
        """Read all engines concurrently. Returns within ``ANSWER_S``; what is late keeps its last figures."""
        await asyncio.gather(*[reading.refresh() for reading in self._readings.values()])

    def describe(self) -> Iterable[GaugeMetricFamily]:
        """Their names, for the registry."""
        return self.collect()

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """What was read last."""
        up = GaugeMetricFamily("duebus_engine_up", "1 when the engine works, 0 when it does not.", labels=("engine",))
        age = GaugeMetricFamily(
            "duebus_gauges_age_seconds", "How old the other gauges of the engine are.", labels=("engine",)
        )
        events = GaugeMetricFamily("duebus_group_events", "Events of a group, by state.", labels=(*GROUP, "state"))
        for name, reading in self._readings.items():
            up.add_metric((name,), reading.is_up)
            if reading.read_s is not None:
                age.add_metric((name,), time.monotonic() - reading.read_s)
            for labels, figures in reading.figures.items():
                for state, count in figures.events.items():
                    events.add_metric((name, *labels, state), count)
        yield from (up, age, events)
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
            "duebus_throttled_groups",
            "Groups that limits or a pause hold up: 1 if this one is, otherwise 0.",
            lambda figures: figures.throttled,
        )
        yield self._gauge(
            "duebus_subscribers", "Open streams of the group, on all replicas.", lambda figures: figures.subscribers
        )
        yield self._gauge(
            "duebus_in_flight", "Events that subscribers hold, on all replicas.", lambda figures: figures.in_flight
        )

    def _gauge(self, name: str, documentation: str, value: Callable[[GroupFigures], float]) -> GaugeMetricFamily:
        family = GaugeMetricFamily(name, documentation, labels=GROUP)
        for engine, reading in self._readings.items():
            for labels, figures in reading.figures.items():
                family.add_metric((engine, *labels), value(figures))
        return family
