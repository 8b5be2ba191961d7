"""What processes report to their parent, over real sockets."""

from __future__ import annotations

import asyncio
import socket
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Any

import pytest
from duebus_server.domain.model import EngineName
from duebus_server.domain.views import TopicConfig
from duebus_server.ops import gauges, metrics
from duebus_server.ops import reports as module
from duebus_server.ops.metrics import Metrics
from duebus_server.ops.reports import ALIVE, METRICS, READY, Reports, answer_parent
from prometheus_client.parser import text_string_to_metric_families
from support.engines import local
from support.topics import TopicDriver

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
    from contextlib import AbstractContextManager

    Impatient = Callable[[], AbstractContextManager[pytest.MonkeyPatch]]


class Process:
    """What a process answers.

    Attributes:
        metrics: its own.
        reason: why it is neither alive nor ready; None if it is both.
        may_answer: probes and scrapes are answered once this is set.
    """

    def __init__(self, topics: int = 10) -> None:
        self.metrics = Metrics(topics)
        self.reason: str | None = None
        self.may_answer = asyncio.Event()
        self.may_answer.set()

    def dispatched(self, count: int, topic: str = "orders") -> None:
        self.metrics.dispatched(EngineName.REDIS, topic, count)

    async def probe(self) -> str | None:
        await self.may_answer.wait()
        return self.reason

    async def report(self, *arguments: Any) -> Any:
        await self.may_answer.wait()
        return await self.metrics.report(*arguments)

    @property
    def answers(self) -> dict[str, Callable[..., Awaitable[Any]]]:
        return {ALIVE: self.probe, READY: self.probe, METRICS: self.report}


@asynccontextmanager
async def running(reports: Reports, number: int, process: Process) -> AsyncIterator[None]:
    """A process that its parent follows. At the end it ends, as one that is killed."""
    ours, its = socket.socketpair()
    count = len(reports._processes) + 1
    following = asyncio.create_task(reports.follow(number, ours))
    answering = await answer_parent(its, process.answers)
    async with asyncio.timeout(10):
        while len(reports._processes) < count:  # noqa: ASYNC110  # the sockets are this loop's, so that it passes at once
            await asyncio.sleep(0)
    try:
        yield
    finally:
        answering.cancel()
        await following


async def dispatched(reports: Reports) -> dict[str, float]:
    """The counter of dispatched events, by topic."""
    families = text_string_to_metric_families((await reports.scrape()).text.decode())
    return {
        sample.labels["topic"]: sample.value
        for family in families
        for sample in family.samples
        if sample.name == "duebus_events_dispatched_total"
    }


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> Impatient:
    """Within it, probes and scrapes do not wait for a process."""

    @contextmanager
    def within() -> Iterator[pytest.MonkeyPatch]:
        with monkeypatch.context() as patch:
            patch.setattr(module, "PROBE_S", 0)
            patch.setattr(module, "SCRAPE_S", 0)
            yield patch

    return within


async def test_until_all_processes_listen_the_server_is_neither_alive_nor_ready() -> None:
    reports = Reports(2)
    async with running(reports, 0, Process()):
        assert await reports.not_alive() == await reports.not_ready() == "1 of 2 processes have started"
        async with running(reports, 1, Process()):
            assert (await reports.not_alive(), await reports.not_ready()) == (None, None)


async def test_a_probe_names_the_process_with_a_problem_and_its_reason() -> None:
    reports, ill = Reports(2), Process()
    async with running(reports, 0, Process()), running(reports, 1, ill):
        ill.reason = "engine redis: Redis can't be reached"
        assert await reports.not_ready() == "process 1: engine redis: Redis can't be reached"


async def test_a_process_that_hangs_makes_the_server_not_alive_until_it_answers(impatient: Impatient) -> None:
    reports, hung = Reports(1), Process()
    async with running(reports, 0, hung):
        hung.may_answer.clear()
        with impatient():
            assert await reports.not_alive() == "process 0: does not answer"
        hung.may_answer.set()
        assert await reports.not_alive() is None


async def test_a_process_that_has_ended_is_left_out_as_long_as_another_one_listens() -> None:
    reports = Reports(2)
    async with running(reports, 0, Process()):
        async with running(reports, 1, Process()):
            pass
        assert (await reports.not_alive(), await reports.not_ready()) == (None, None)
    assert await reports.not_alive() == await reports.not_ready() == "no process accepts calls"


async def test_counters_do_not_go_back_when_a_process_has_ended_or_is_started_again() -> None:
    reports, first, second = Reports(2), Process(), Process()
    first.dispatched(1)
    async with running(reports, 0, first):
        async with running(reports, 1, second):
            second.dispatched(10)
            assert await dispatched(reports) == {"orders": 11}
        assert await dispatched(reports) == {"orders": 11}
        async with running(reports, 1, third := Process()):
            third.dispatched(100)
            assert await dispatched(reports) == {"orders": 111}
            assert b"duebus_process_restarts_total 1.0" in (await reports.scrape()).text


async def test_a_process_that_is_late_keeps_its_last_figures(impatient: Impatient) -> None:
    reports, late = Reports(1), Process()
    async with running(reports, 0, late):
        late.dispatched(1)
        assert await dispatched(reports) == {"orders": 1}
        late.may_answer.clear()
        late.dispatched(1)
        with impatient():
            assert await dispatched(reports) == {"orders": 1}
        late.may_answer.set()
        assert await dispatched(reports) == {"orders": 2}


async def test_an_answer_that_fails_counts_as_late_and_others_still_come() -> None:
    reports, process = Reports(1), Process()
    process.metrics = None  # type: ignore[assignment]  # a defect
    async with running(reports, 0, process):
        assert await dispatched(reports) == {}
        assert await reports.not_alive() is None


async def test_one_process_reads_the_gauges_and_all_count_for_the_same_topics() -> None:
    # given: two processes on one engine, of which the second has no room for the topic of the first
    reports, first, second = Reports(2), Process(topics=1), Process(topics=1)
    async with local(TopicConfig()) as harness:
        topic = TopicDriver(harness)
        await topic.join()
        for process in (first, second):
            process.metrics.watch([harness.engine])
        second.dispatched(1, "elsewhere")
        async with running(reports, 0, first), running(reports, 1, second):
            # when: the first is scraped, then both know the topic
            text = [(await reports.scrape()).text.decode() for _ in range(2)][-1]
            for process in (first, second):
                process.metrics.dispatched(EngineName.LOCAL, topic.name, 1)

            # then: the engine's gauges are there once, and the topic has a counter of its own
            assert text.count(f'duebus_subscribers{{engine="local",group="default",topic="{topic.name}"}} 1.0') == 1
            assert (await dispatched(reports))[topic.name] == 2


async def test_a_process_that_hangs_leaves_the_gauges_to_another_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise its last ones stay forever, with the age that they had, so that no alert fires."""
    monkeypatch.setattr(module, "SCRAPE_S", 1)
    monkeypatch.setattr(metrics, "FRESH_S", 0)
    monkeypatch.setattr(gauges, "PAUSE", 0)
    reports, first, second = Reports(2), Process(), Process()
    async with local(TopicConfig()) as harness:
        topic = TopicDriver(harness)
        await topic.join()
        for process in (first, second):
            process.metrics.watch([harness.engine])
        gauge = f'duebus_queued{{engine="local",topic="{topic.name}"}} '.encode()
        async with running(reports, 0, first), running(reports, 1, second):
            assert gauge + b"0.0" in (await reports.scrape()).text

            # when: the first one hangs, the next scrape has its last figures, and then the second one reads
            first.may_answer.clear()
            await topic.dispatch("event")
            assert gauge + b"0.0" in (await reports.scrape()).text
            assert gauge + b"1.0" in (await reports.scrape()).text

            # then: once it answers again it reads, and nothing that the second one has read is left
            first.may_answer.set()
            await reports.scrape()
            await topic.dispatch("another")
            assert gauge + b"2.0" in (await reports.scrape()).text


async def test_a_parent_that_ends_within_a_request_leaves_no_error_behind() -> None:
    ours, its = socket.socketpair()
    answering = await answer_parent(its, Process().answers)
    ours.sendall(b"1000\nthe beginning of a request")
    ours.close()
    await asyncio.wait([answering], timeout=10)
    assert answering.exception() is None
