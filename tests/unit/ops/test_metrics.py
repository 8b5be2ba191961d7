"""Dead events are counted once each, by group, when the engine reports them."""

from __future__ import annotations

import pytest
from duebus_server.delivery.options import SessionOptions
from duebus_server.delivery.streams import Streams
from duebus_server.delivery.window import Window
from duebus_server.domain.clock import SECOND, SystemClock
from duebus_server.domain.model import DEFAULT_GROUP, EngineName, NackAction
from duebus_server.domain.rates import Limits
from duebus_server.domain.views import TopicConfig
from duebus_server.engine.instrumented import InstrumentedEngine
from duebus_server.ops.metrics import Metrics
from prometheus_client.parser import text_string_to_metric_families
from support.builders import new_event
from support.engines import journaled, local
from support.recorder import Recorder
from support.topics import TopicDriver


async def dead(metrics: Metrics, name: str = "dead") -> dict[tuple[str, str, str], float]:
    """The counter of dead events in a scrape, or of events of another kind, by engine, topic and group."""
    found = await samples(metrics)
    return {key[1:]: value for key, value in found.items() if key[0] == f"duebus_events_{name}_total"}  # type: ignore[misc]  # three labels


async def samples(metrics: Metrics) -> dict[tuple[str, ...], float]:
    """A scrape: by name, and by engine, topic, group and other labels in the order of their names."""
    families = text_string_to_metric_families((await metrics.scrape()).text.decode())
    return {
        (each.name, *[each.labels[name] for name in FIRST if name in each.labels], *others(each.labels)): each.value
        for family in families
        for each in family.samples
    }


FIRST = ("engine", "topic", "group")


def others(labels: dict[str, str]) -> list[str]:
    """The values of the other labels."""
    return [labels[name] for name in sorted(labels.keys() - set(FIRST))]


async def test_deaths_are_counted_by_group() -> None:
    metrics = Metrics(topics=10)
    metrics.died(EngineName.LOCAL, "orders", "billing", 3)
    metrics.died(EngineName.LOCAL, "orders", "billing", 2)
    metrics.died(EngineName.REDIS, "orders", "audit", 1)
    assert await dead(metrics) == {("local", "orders", "billing"): 5, ("redis", "orders", "audit"): 1}


@pytest.mark.parametrize("action", NackAction)
async def test_a_nack_alone_does_not_count_as_a_death(action: NackAction) -> None:
    """The engine reports the death, so the nack must not count it a second time."""
    metrics = Metrics(topics=10)
    metrics.nacked(EngineName.LOCAL, "orders", "billing", action, 1)
    assert await dead(metrics) == {("local", "orders", "billing"): 0}


async def test_deaths_that_an_engine_reports_are_counted_and_passed_on() -> None:
    metrics, recorder = Metrics(topics=10), Recorder(timeout_s=0)
    async with local(TopicConfig()) as harness:
        engine = InstrumentedEngine(harness.unstarted(), metrics)
        engine.watch(recorder)
        await engine.start()
        topic = TopicDriver(harness, engine)
        await topic.join()
        await topic.dispatch(new_event("slow", max_retries=0))
        await topic.let_run_out()
        await topic.dispatch(*(new_event(name, max_retries=0) for name in ("thrown", "failed", "done")))
        _slow, thrown, failed, done = await topic.lease(lease_us=SECOND)
        await topic.dead_letter(thrown)
        await topic.nack(failed)
        await topic.ack(done)
        await harness.advance(SECOND)
        await engine.expire_leases()
        await engine.expire_leases()
        await engine.stop()
    assert [death.first_ids for death in recorder.deaths] == [("thrown",), ("failed",), ("slow",)]
    assert await dead(metrics) == {("local", topic.name, DEFAULT_GROUP): 3}
    assert [suspects.first_ids for suspects in recorder.suspects] == [("slow",)]
    assert await dead(metrics, "suspected") == {("local", topic.name, DEFAULT_GROUP): 1}


GROUP = ("local", "orders", "billing")
OF_GROUP = {
    ("duebus_events_delivered_total", *GROUP),
    ("duebus_events_acked_total", *GROUP),
    ("duebus_events_dead_total", *GROUP),
    ("duebus_events_suspected_total", *GROUP),
    *(("duebus_events_nacked_total", *GROUP, action) for action in NackAction),
}


async def test_all_counters_of_a_group_begin_at_0_with_its_first_event() -> None:
    metrics = Metrics(topics=10)
    metrics.acked(EngineName.LOCAL, "orders", "billing", 1)
    found = {key: value for key, value in (await samples(metrics)).items() if key in OF_GROUP}
    assert found == dict.fromkeys(OF_GROUP, 0) | {("duebus_events_acked_total", *GROUP): 1}


async def test_counters_of_a_group_begin_before_anything_happens_in_it() -> None:
    """The first scrape after fifty deaths would otherwise show a counter at 50, of which nobody knows that it grew."""
    metrics = Metrics(topics=10)
    async with local(TopicConfig()) as harness:
        metrics.watch([harness.engine])
        topic = TopicDriver(harness)
        await topic.join(group="billing")
        found = await samples(metrics)
    expected = {(key[0], "local", topic.name, *key[3:]) for key in OF_GROUP}
    assert {key: found.get(key) for key in expected} == dict.fromkeys(expected, 0)


async def test_a_topic_whose_events_die_has_counters_of_its_own() -> None:
    metrics = Metrics(topics=1)
    metrics.dispatched(EngineName.LOCAL, "first", 1)
    metrics.dispatched(EngineName.LOCAL, "orders", 1)
    metrics.died(EngineName.LOCAL, "orders", "billing", 50)
    assert await dead(metrics) == {GROUP: 50}


async def test_every_report_of_an_engine_is_passed_on() -> None:
    recorder = Recorder(timeout_s=0)
    async with local(TopicConfig()) as harness:
        engine = InstrumentedEngine(harness.unstarted(), Metrics(topics=10))
        engine.watch(recorder)
        await engine.start()
        topic = TopicDriver(harness, engine)
        await topic.join()
        await topic.configure(limits=Limits(max_in_flight=1))
        await topic.delete()
        await engine.stop()
    assert recorder.limits == [(topic.name, DEFAULT_GROUP)]
    assert recorder.deletions == [(topic.name, None)]


async def test_calls_to_the_journal_and_to_redis_are_timed() -> None:
    metrics = Metrics(topics=1)
    async with journaled(TopicConfig()) as harness:
        engine = InstrumentedEngine(harness.unstarted(), metrics)
        engine.watch(Recorder(timeout_s=0))
        await engine.start()
        topic = TopicDriver(harness, engine)
        await topic.dispatch("event")
        await engine.stop()
    found = await samples(metrics)
    assert found["duebus_storage_call_duration_seconds_count", "local", "sync"] >= 1


async def test_the_streams_of_this_server_are_shown() -> None:
    metrics = Metrics(topics=10)
    async with local(TopicConfig()) as harness:
        engine = InstrumentedEngine(harness.unstarted(), metrics)
        metrics.watch([engine])
        streams = Streams(engine, SystemClock())
        await engine.start()
        before = await samples(metrics)
        session = streams.open(SessionOptions("s", "orders", "billing", "", SECOND, SECOND), Window(1, 1))
        opened = await samples(metrics)
        await streams.close(session)
        closed = await samples(metrics)
        await engine.stop()
    assert [found["duebus_streams", "local"] for found in (before, opened, closed)] == [0, 1, 0]
