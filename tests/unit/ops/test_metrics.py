"""Dead events are counted once each, by group, when the engine reports them."""

from __future__ import annotations

import pytest
from duebus_server.domain.clock import SECOND
from duebus_server.domain.model import DEFAULT_GROUP, EngineName, NackAction
from duebus_server.domain.views import TopicConfig
from duebus_server.engine.instrumented import InstrumentedEngine
from duebus_server.ops.metrics import Metrics
from prometheus_client.parser import text_string_to_metric_families
from support.builders import new_event
from support.engines import local
from support.recorder import Recorder
from support.topics import TopicDriver


async def dead(metrics: Metrics, name: str = "dead") -> dict[tuple[str, str, str], float]:
    """The counter of dead events in a scrape, or of events of another kind, by engine, topic and group."""
    families = text_string_to_metric_families((await metrics.scrape()).decode())
    samples = [each for family in families for each in family.samples if each.name == f"duebus_events_{name}_total"]
    return {(each.labels["engine"], each.labels["topic"], each.labels["group"]): each.value for each in samples}


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
    assert await dead(metrics) == {}


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
