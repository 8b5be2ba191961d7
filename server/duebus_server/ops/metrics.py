"""The metrics of one server process, as docs/observability.md lists them.

Counters and histograms cover this process. Gauges are read from the engines, so on redis every server shows the same:
what the whole bus holds.
"""

from __future__ import annotations

import asyncio
import re
import time
from typing import TYPE_CHECKING

from prometheus_client import (
    CollectorRegistry,
    Counter,
    GCCollector,
    PlatformCollector,
    ProcessCollector,
    disable_created_metrics,
)
from prometheus_client.exposition import generate_latest

from duebus_server.domain.clock import SECOND
from duebus_server.domain.model import EngineName, NackAction
from duebus_server.domain.schedules import ADVANCED, FiringOutcome
from duebus_server.ops.gauges import Gauges
from duebus_server.ops.histogram import BatchHistogram
from duebus_server.ops.labels import OTHER, Labels

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from duebus_server.domain.errors import DispatcherNotWorking
    from duebus_server.domain.model import LeaseBatch
    from duebus_server.domain.schedules import Firing
    from duebus_server.engine.base import Engine

    EngineCall = Callable[[EngineName, str, float, int], None]

LATENESS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800, 3600, 21600)
CALL_S = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5)
BATCH = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000)

OF_TOPIC = ("engine", "topic")
OF_GROUP = (*OF_TOPIC, "group")

FRESH_S = 1.0
"""How old gauges may be without being read again."""

_WORD = re.compile(r"(?<!^)(?=[A-Z])")


class Children(dict[tuple[str, ...], Counter]):
    """A counter's children by engine, topic and perhaps group. Looking one up costs more than counting.

    Args:
        counter: the counter.
        labels: which topics and groups have their own labels.
        *more: further labels.
    """

    def __init__(self, counter: Counter, labels: Labels, *more: str) -> None:
        super().__init__()
        self._counter = counter
        self._labels = labels
        self._more = more

    def __missing__(self, key: tuple[str, ...]) -> Counter:
        engine, topic, *group = key
        shown = self._labels.group(topic, *group) if group else (self._labels.topic(topic),)
        child = self._counter.labels(engine, *shown, *self._more)
        if OTHER not in shown:  # the number of other topics is unbounded
            self[key] = child
        return child


class Metrics:
    """All metrics, and the engines' recorder.

    Args:
        topics: how many topics have their own metrics.
        on_engine_call: also called for each engine call: engine, verb, seconds, events.
    """

    def __init__(self, topics: int, on_engine_call: EngineCall | None = None) -> None:
        self._on_engine_call = on_engine_call
        disable_created_metrics()  # type: ignore[no-untyped-call]  # they would double the number of lines
        self._labels = Labels(topics)
        self._registry = CollectorRegistry()
        self._gauges = Gauges(self._labels, topics)
        self._gathering = asyncio.Lock()
        self._gathered_s = float("-inf")
        self._make_counters()
        self._make_histograms()
        for collector in (
            self._gauges,
            self._lateness,
            self._latency,
            self._schedule_lateness,
            self._durations,
            self._batches,
        ):
            self._registry.register(collector)
        ProcessCollector(registry=self._registry)
        PlatformCollector(registry=self._registry)
        GCCollector(registry=self._registry)

    def _make_counters(self) -> None:
        def counter(name: str, documentation: str, *labels: str) -> Counter:
            return Counter(f"duebus_{name}", documentation, labels, registry=self._registry)

        def of_group(name: str, documentation: str) -> Children:
            return Children(counter(name, documentation, *OF_GROUP), self._labels)

        dispatched = counter("events_dispatched_total", "Events that were stored.", *OF_TOPIC)
        nacked = counter("events_nacked_total", "Events that were nacked or released.", *OF_GROUP, "action")
        self._dispatched = Children(dispatched, self._labels)
        self._delivered = of_group("events_delivered_total", "Events that were leased to a subscriber.")
        self._acked = of_group("events_acked_total", "Events that were acked.")
        self._nacked = {action: Children(nacked, self._labels, action) for action in NackAction}
        self._dead = of_group("events_dead_total", "Events that became dead letters.")
        self._suspects = of_group("events_suspected_total", "Events that became suspects: leases ran out twice.")
        fired = counter("schedules_fired_total", "Nominal times of schedules that dispatched an event.", *OF_TOPIC)
        skipped = counter(
            "schedules_skipped_total", "Nominal times that were skipped because of the overlap.", *OF_TOPIC
        )
        missed = counter("schedules_missed_total", "Nominal times that were given up.", *OF_TOPIC)
        self._fired, self._skipped, self._missed = [Children(each, self._labels) for each in (fired, skipped, missed)]
        self._redis_errors = counter("redis_errors_total", "Calls that failed because of Redis.", "kind")
        self._rpcs = counter("rpcs_total", "Calls that have ended; streams when they end.", "method", "code")

    def _make_histograms(self) -> None:
        self._lateness = BatchHistogram(
            "duebus_delivery_lateness_seconds", "Time from due to delivered.", ("engine",), LATENESS_S
        )
        self._latency = BatchHistogram(
            "duebus_dispatch_to_delivery_seconds",
            "Time from dispatch to first delivery, including the requested delay.",
            ("engine",),
            LATENESS_S,
        )
        self._schedule_lateness = BatchHistogram(
            "duebus_schedule_lateness_seconds",
            "Time from when a schedule was due to when it fired.",
            ("engine",),
            LATENESS_S,
        )
        self._durations = BatchHistogram(
            "duebus_engine_call_duration_seconds", "Duration of an engine call.", ("engine", "verb"), CALL_S
        )
        self._batches = BatchHistogram(
            "duebus_engine_batch_size", "Events in one engine call.", ("engine", "verb"), BATCH
        )

    def watch(self, engines: Sequence[Engine]) -> None:
        """Read the gauges from these engines."""
        self._gauges.watch(engines)

    async def scrape(self) -> bytes:
        """All metrics, in the text format of Prometheus."""
        async with self._gathering:
            if time.monotonic() - self._gathered_s > FRESH_S:
                await self._gauges.gather()
                self._gathered_s = time.monotonic()
        return generate_latest(self._registry)

    # --- calls ------------------------------------------------------------------------------------------------------

    def rpc(self, method: str, code: str) -> None:
        """A call has ended; ``method`` is its path."""
        self._rpcs.labels(method.removeprefix("/"), code).inc()

    # --- the engines' recorder --------------------------------------------------------------------------------------

    def called(self, engine: EngineName, verb: str, seconds: float, batch: int) -> None:
        """An engine's verb has ended: how long it took, and for how many events."""
        if self._on_engine_call is not None:
            self._on_engine_call(engine, verb, seconds, batch)
        self._durations.observe((engine, verb), seconds)
        if batch:
            self._batches.observe((engine, verb), batch)

    def failed(self, engine: EngineName, error: DispatcherNotWorking) -> None:
        """An engine's verb has failed."""
        if engine is EngineName.REDIS and error.__cause__ is not None:
            self._redis_errors.labels(_kind(error.__cause__)).inc()

    def dispatched(self, engine: EngineName, topic: str, count: int) -> None:
        """Events were stored."""
        self._dispatched[engine, topic].inc(count)

    def delivered(self, engine: EngineName, topic: str, group: str, batch: LeaseBatch, now_us: int) -> None:
        """Events were leased to a session."""
        self._delivered[engine, topic, group].inc(len(batch.events))
        self._lateness.observe_since((engine,), now_us, [event.deliver_at_us for event in batch.events])
        dispatched = [event.dispatched_us for event in batch.events if event.attempt == 1]
        self._latency.observe_since((engine,), now_us, dispatched)

    def acked(self, engine: EngineName, topic: str, group: str, count: int) -> None:
        """Events are done."""
        self._acked[engine, topic, group].inc(count)

    def nacked(self, engine: EngineName, topic: str, group: str, action: NackAction, count: int) -> None:
        """Events were given back."""
        self._nacked[action][engine, topic, group].inc(count)

    def died(self, engine: EngineName, topic: str, group: str, count: int) -> None:
        """Events became dead letters."""
        self._dead[engine, topic, group].inc(count)

    def suspected(self, engine: EngineName, topic: str, group: str, count: int) -> None:
        """Events became suspects."""
        self._suspects[engine, topic, group].inc(count)

    def fired(self, engine: EngineName, firing: Firing, outcome: FiringOutcome, now_us: int) -> None:
        """A schedule was fired, or was not."""
        if outcome not in ADVANCED:
            return
        of_topic = (engine, firing.record.topic)
        if firing.missed:
            self._missed[of_topic].inc(firing.missed)
        if outcome is FiringOutcome.SKIPPED:
            self._skipped[of_topic].inc()
        if outcome is FiringOutcome.FIRED:
            self._fired[of_topic].inc()
            self._dispatched[of_topic].inc()
            late_us = now_us - (firing.record.due_us or now_us)
            self._schedule_lateness.observe((engine,), max(0, late_us) / SECOND)


def _kind(cause: BaseException) -> str:
    """The class of the error as a label, such as ``connection``, ``timeout`` or ``out_of_memory``."""
    return _WORD.sub("_", type(cause).__name__.removesuffix("Error")).lower()
