"""Gauges of an engine that is slow or down: whether it is up is asked apart, and late figures stay, with their age."""

from __future__ import annotations

import asyncio

import pytest
from duebus_server.domain.errors import DispatcherNotWorking
from duebus_server.domain.model import EngineName
from duebus_server.domain.rates import Limits
from duebus_server.domain.retry import RetryPolicy
from duebus_server.domain.states import EventState
from duebus_server.domain.views import GroupInfo, Rates, TopicConfig, TopicInfo
from duebus_server.ops import gauges
from duebus_server.ops.gauges import EngineReading
from duebus_server.ops.labels import Labels
from duebus_server.ops.metrics import Metrics
from prometheus_client.parser import text_string_to_metric_families
from support.engines import local
from support.topics import TopicDriver

HEALTHY = GroupInfo("g", False, dict.fromkeys(EventState, 0), (), None, Rates(), RetryPolicy())
GROUP = GroupInfo("g", False, dict.fromkeys(EventState, 1), (), 0, Rates(0, 0, 0, 0), RetryPolicy())


class SlowEngine:
    """An engine whose answers the test lets through.

    Attributes:
        may_check: a check is answered once this is set.
        may_list: a page of topics is answered once this is set.
        names: its topics.
        failure: raised by every call; None if it works.
        group: the only one of each topic.
    """

    name = EngineName.REDIS

    def __init__(self, *names: str) -> None:
        self.may_check, self.may_list = asyncio.Event(), asyncio.Event()
        self.may_check.set()
        self.may_list.set()
        self.names = names
        self.failure: DispatcherNotWorking | None = None
        self.group = GROUP
        self.listed = 0

    async def check(self) -> None:
        await self.may_check.wait()
        if self.failure is not None:
            raise self.failure

    async def list_topics(self, after: str, limit: int) -> list[TopicInfo]:
        self.listed += 1
        await self.may_list.wait()
        if self.failure is not None:
            raise self.failure
        names = [name for name in self.names if name > after][:limit]
        return [TopicInfo(name, TopicConfig(), 1, [self.group]) for name in names]


@pytest.fixture(autouse=True)
def short_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gauges, "ANSWER_S", 0.05)
    monkeypatch.setattr(gauges, "PAUSE", 0)


def reading_of(engine: SlowEngine, topics: int = 10) -> EngineReading:
    return EngineReading(engine, Labels(topics), topics)  # type: ignore[arg-type]  # as much of one as it calls


async def test_all_topics_are_read_page_by_page(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gauges, "TOPICS_AT_ONCE", 2)
    reading = reading_of(SlowEngine("a", "b", "c", "d", "e"))
    await reading.refresh()
    assert reading.is_up
    assert reading.figures.keys() == {(name, "g") for name in "abcde"}


async def test_an_engine_whose_topics_take_long_to_list_is_up_and_its_last_figures_stay() -> None:
    engine = SlowEngine("a")
    reading = reading_of(engine)
    await reading.refresh()
    read_s = reading.read_s
    engine.names = ("b",)
    engine.may_list.clear()
    await reading.refresh()
    assert reading.is_up
    assert reading.figures.keys() == {("a", "g")}
    assert reading.read_s == read_s

    # and the reading goes on: the next scrape waits for it, and begins no second one
    listed = engine.listed
    engine.may_list.set()
    await reading.refresh()
    assert engine.listed == listed + 1, "the page after the last"
    assert reading.figures.keys() == {("b", "g")}


async def test_an_engine_that_does_not_answer_a_check_is_down() -> None:
    engine = SlowEngine("a")
    engine.may_check.clear()
    reading = reading_of(engine)
    await reading.refresh()
    assert not reading.is_up
    engine.may_check.set()
    await reading.refresh()
    assert reading.is_up


async def test_an_engine_that_fails_is_down_and_shows_no_figures() -> None:
    engine = SlowEngine("a")
    reading = reading_of(engine)
    await reading.refresh()
    engine.failure = DispatcherNotWorking("away")
    await reading.refresh()
    assert (reading.is_up, reading.figures, reading.read_s) == (False, {}, None)


async def test_readings_take_at_most_a_share_of_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gauges, "PAUSE", 1_000_000)
    engine = SlowEngine("a")
    reading = reading_of(engine)
    await reading.refresh()
    listed = engine.listed
    await reading.refresh()
    assert engine.listed == listed


async def test_without_topics_nothing_is_listed() -> None:
    engine = SlowEngine("a")
    reading = reading_of(engine, topics=0)
    await reading.refresh()
    assert (reading.is_up, engine.listed) == (True, 0)


async def test_limits_are_shown_where_there_are_some() -> None:
    metrics = Metrics(topics=10)
    async with local(TopicConfig(max_queued=0)) as harness:
        metrics.watch([harness.engine])
        limited, free = TopicDriver(harness), TopicDriver(harness)
        for topic in (limited, free):
            await topic.join()
            await topic.dispatch("a", "b")
        await limited.configure(max_queued=10, limits=Limits(max_in_flight=3))
        text = (await metrics.scrape()).text.decode()
    shown = {
        (
            family.name,
            *(sample.labels[name] for name in ("engine", "topic", "group") if name in sample.labels),
        ): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if family.name in ("duebus_queued", "duebus_max_queued", "duebus_max_in_flight")
    }
    assert shown == {
        ("duebus_queued", "local", limited.name): 2,
        ("duebus_queued", "local", free.name): 2,
        ("duebus_max_queued", "local", limited.name): 10,
        ("duebus_max_in_flight", "local", limited.name, "default"): 3,
    }


async def test_topics_that_are_well_leave_the_labels_of_counters_to_those_in_trouble() -> None:
    labels = Labels(2)
    engine = SlowEngine("a", "b")
    engine.group = HEALTHY
    reading = EngineReading(engine, labels, 2)  # type: ignore[arg-type]  # as much of one as it calls
    labels.topic("first")
    labels.topic("second")
    await reading.refresh()
    engine.names, engine.group = ("c", "d"), GROUP
    await reading.refresh()
    assert [labels.topic(name) for name in "abcd"] == ["other", "other", "c", "d"]
