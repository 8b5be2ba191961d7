"""Gauges of what the engines hold, read through the views that the admin service uses."""

from __future__ import annotations

import asyncio
import time
from operator import attrgetter
from typing import TYPE_CHECKING

import structlog
from prometheus_client.core import GaugeMetricFamily

from duebus_server.domain.errors import DueBusError
from duebus_server.ops.labels import EPHEMERAL, OTHER
from duebus_server.ops.topic_choice import TopicChoice, TopicFigures

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from duebus_server.engine.base import Engine
    from duebus_server.ops.labels import Labels
    from duebus_server.ops.topic_choice import Figures

ANSWER_S = 2.0
"""How long a scrape waits for an engine. One that does not answer a check in this time is down."""

TOPICS_AT_ONCE = 500
"""How many topics one engine call reads."""

PAUSE = 9
"""The pause after a reading, in multiples of the time that it took: readings take at most a tenth of the time."""

TOPIC = ("engine", "topic")
GROUP = (*TOPIC, "group")

OF_GROUP: tuple[tuple[str, str, str], ...] = (
    (
        "duebus_stuck_age_seconds",
        "How long the oldest ready event has been due, if no pause or limit explains why nothing is delivered.",
        "stuck_age_s",
    ),
    (
        "duebus_oldest_ready_age_seconds",
        "How long the oldest ready event has been due; 0 when none is ready, or the group is paused.",
        "oldest_ready_age_s",
    ),
    (
        "duebus_oldest_blocked_age_seconds",
        "How long the oldest blocked event has been due; 0 when none is blocked, or the group is paused.",
        "oldest_blocked_age_s",
    ),
    (
        "duebus_oldest_lease_age_seconds",
        "How long the oldest lease has lasted, extensions included; 0 when none is leased.",
        "oldest_lease_age_s",
    ),
    ("duebus_paused_groups", "Paused groups: 1 if this one is, otherwise 0.", "paused"),
    (
        "duebus_throttled_groups",
        "Groups that limits or a pause hold up: 1 if this one is, otherwise 0.",
        "throttled",
    ),
    ("duebus_subscribers", "Open streams of the group, on all replicas.", "subscribers"),
    ("duebus_in_flight", "Events that subscribers hold, on all replicas.", "in_flight"),
)
"""Gauges with a sample for each group: name, help text, and the figure that they show."""

log = structlog.get_logger()


class EngineReading:
    """What one engine holds, as it was last read. A reading that takes longer than a scrape waits goes on behind it.

    Attributes:
        is_up: whether the engine answered the last check.
        figures: of the groups, by the labels of topic and group.
        topics: those that have gauges of their own.
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
        self.topics: Sequence[TopicFigures] = ()
        self.read_s: float | None = None
        self._engine = engine
        self._labels = labels
        self._most = topics
        self._chosen: frozenset[str] = frozenset()
        self._next_s = float("-inf")
        self._task: asyncio.Task[None] | None = None

    async def refresh(self, *, reads: bool = True) -> None:
        """Check the engine, and wait a while for a reading if one is due or under way.

        Args:
            reads: False: another process reads the engine, and this one shows nothing of what it read before.
        """
        if not reads:
            self._forget()
            self._next_s = float("-inf")
        elif self._task is None and self._most and time.monotonic() >= self._next_s:
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

    def _forget(self) -> None:
        self.figures, self.topics, self.read_s = {}, (), None

    async def _read(self) -> None:
        """Read all topics, a page at a time."""
        began_s = time.monotonic()
        try:
            choice = TopicChoice(self._most, self._chosen)
            after = ""
            while page := await self._engine.list_topics(after, TOPICS_AT_ONCE):
                after = page[-1].topic
                choice.add(map(TopicFigures, page))
        except DueBusError as error:
            log.warning("engine left out of the metrics", engine=self._engine.name, error=str(error))
            self._forget()
        else:
            self.topics = choice.chosen()
            self._chosen = frozenset(topic.name for topic in self.topics)
            self.figures, self.read_s = choice.figures(self.topics), began_s
            self._labels.add_troubled(topic.name for topic in self.topics if any(topic.troubles()))
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

    async def gather(self, *, reads: bool = True) -> None:
        """Check all engines, and read them if ``reads``. Returns within ``ANSWER_S``; late figures stay the last."""
        await asyncio.gather(*[reading.refresh(reads=reads) for reading in self._readings.values()])

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
        for family_name, documentation, figure in OF_GROUP:
            yield self._of_groups(family_name, documentation, figure)
        yield from self._limits()

    def groups(self) -> Iterator[tuple[str, str, str]]:
        """The engine, topic and group of those that have gauges of their own."""
        for name, reading in self._readings.items():
            for topic, group in reading.figures:
                if group not in ("", OTHER, EPHEMERAL):
                    yield name, topic, group

    def _of_groups(self, name: str, documentation: str, figure: str) -> GaugeMetricFamily:
        family = GaugeMetricFamily(name, documentation, labels=GROUP)
        value = attrgetter(figure)
        for engine, reading in self._readings.items():
            for labels, figures in reading.figures.items():
                family.add_metric((engine, *labels), value(figures))
        return family

    def _limits(self) -> tuple[GaugeMetricFamily, ...]:
        """What topics and groups may hold, where that is limited, and what topics do hold."""
        queued = GaugeMetricFamily("duebus_queued", "Events that the topic holds, without dead letters.", labels=TOPIC)
        may = GaugeMetricFamily("duebus_max_queued", "How many events the topic may hold, if limited.", labels=TOPIC)
        at_once = GaugeMetricFamily(
            "duebus_max_in_flight",
            "How many deliveries of the group may be under way at once, if limited.",
            labels=GROUP,
        )
        for engine, reading in self._readings.items():
            for topic in reading.topics:
                queued.add_metric((engine, topic.name), topic.queued)
                if topic.max_queued:
                    may.add_metric((engine, topic.name), topic.max_queued)
            for labels, figures in reading.figures.items():
                if figures.max_in_flight:
                    at_once.add_metric((engine, *labels), figures.max_in_flight)
        return queued, may, at_once
