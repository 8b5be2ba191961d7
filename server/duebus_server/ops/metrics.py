"""The metrics of one server process, as docs/observability.md lists them.

Counters and histograms cover this process. Gauges are read from the engines, so on redis every server shows the same:
what the whole bus holds. Of several processes of one server, one reads them.
"""

from __future__ import annotations

import asyncio
import re
import time
from dataclasses import dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    GCCollector,
    PlatformCollector,
    ProcessCollector,
    disable_created_metrics,
)
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from duebus_server.domain.clock import SECOND
from duebus_server.domain.model import EngineName, NackAction
from duebus_server.domain.schedules import ADVANCED, FiringOutcome
from duebus_server.ops.gauges import Gauges
from duebus_server.ops.histogram import BatchHistogram
from duebus_server.ops.labels import OTHER, Labels

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from prometheus_client.core import Metric

    from duebus_server.domain.errors import DispatcherNotWorking
    from duebus_server.domain.model import LeaseBatch
    from duebus_server.domain.schedules import Firing
    from duebus_server.engine.base import Engine

    EngineCall = Callable[[EngineName, str, float, int], str]
    Groups = list[tuple[str, str, str]]

LATENESS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800, 3600, 21600)
CALL_S = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5)
BATCH = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000)

OF_TOPIC = ("engine", "topic")
OF_GROUP = (*OF_TOPIC, "group")

FRESH_S = 1.0
"""How old gauges may be without being read again."""

T = TypeVar("T")

_WORD = re.compile(r"(?<!^)(?=[A-Z])")


def untraced(_engine: EngineName, _verb: str, _seconds: float, _batch: int) -> str:
    """The trace of an engine call that has none."""
    return ""


@dataclass(frozen=True, slots=True)
class GroupCounters:
    """The counters of one group, or of those that share its labels."""

    delivered: Counter
    acked: Counter
    nacked: dict[NackAction, Counter]
    dead: Counter
    suspected: Counter


@dataclass(frozen=True, slots=True)
class ScheduleCounters:
    """The counters of the schedules of one topic, or of those that share its labels."""

    fired: Counter
    skipped: Counter
    missed: Counter


class ByLabels(dict[tuple[str, ...], T]):
    """Counters by engine, topic and perhaps group. Looking them up costs more than counting.

    All counters of a group appear together, at 0: nothing is known of how a counter grew before it was first scraped.

    Args:
        make: makes the counters of an engine, and of the labels of a topic and perhaps a group.
        labels: which topics and groups have their own labels.
    """

    def __init__(self, make: Callable[..., T], labels: Labels) -> None:
        super().__init__()
        self._make = make
        self._labels = labels
        self._made: dict[tuple[str, ...], T] = {}

    def __missing__(self, key: tuple[str, ...]) -> T:
        engine, topic, *group = key
        shown = (engine, *(self._labels.group(topic, *group) if group else (self._labels.topic(topic),)))
        counters = self._made.get(shown)
        if counters is None:
            counters = self._made[shown] = self._make(*shown)
        if OTHER not in shown:  # the number of other topics is unbounded
            self[key] = counters
        return counters


class Scrape(NamedTuple):
    """All metrics, in the format that was asked for."""

    text: bytes
    content_type: str


class Report(NamedTuple):
    """All metrics of a process.

    Attributes:
        families: the metrics.
        groups: the engine, topic and group of those that have gauges and counters of their own.
    """

    families: list[Metric]
    groups: Groups


class _Collected(Collector):
    """Metrics that were collected before."""

    def __init__(self, families: list[Metric]) -> None:
        self._families = families

    def collect(self) -> list[Metric]:
        return self._families


def encoded(families: list[Metric], accept: str) -> Scrape:
    """The metrics as OpenMetrics, with exemplars, if the header ``accept`` asks for that."""
    encode, content_type = choose_encoder(accept)
    return Scrape(encode(_Collected(families)), content_type)


class Metrics:
    """All metrics, and the engines' recorder.

    Args:
        topics: how many topics have their own metrics.
        on_engine_call: also called for each engine call: engine, verb, seconds, events. Returns the id of its trace;
            empty if it has none.
    """

    def __init__(self, topics: int, on_engine_call: EngineCall = untraced) -> None:
        self._on_engine_call = on_engine_call
        disable_created_metrics()  # type: ignore[no-untyped-call]  # they would double the number of lines
        self._labels = Labels(topics)
        self._registry = CollectorRegistry()
        self._gauges = Gauges(self._labels, topics)
        self._gathering = asyncio.Lock()
        self._gathered_s = float("-inf")
        self._reads = True
        self._make_counters()
        self._make_histograms()
        for collector in (
            self._gauges,
            self._lateness,
            self._latency,
            self._schedule_lateness,
            self._rpc_durations,
            self._durations,
            self._storage,
            self._batches,
        ):
            self._registry.register(collector)
        build = Gauge("duebus_build_info", "1; the build is in the labels.", ("version",), registry=self._registry)
        build.labels(version("duebus")).set(1)
        self._streams = Gauge("duebus_streams", "Open streams of this server.", ("engine",), registry=self._registry)
        ProcessCollector(registry=self._registry)
        PlatformCollector(registry=self._registry)
        GCCollector(registry=self._registry)

    def _make_counters(self) -> None:
        def counter(name: str, documentation: str, *labels: str) -> Counter:
            return Counter(f"duebus_{name}_total", documentation, labels, registry=self._registry)

        dispatched = counter("events_dispatched", "Events that were stored.", *OF_TOPIC)
        delivered = counter("events_delivered", "Events that were leased to a subscriber.", *OF_GROUP)
        acked = counter("events_acked", "Events that were acked.", *OF_GROUP)
        nacked = counter("events_nacked", "Events that were nacked or released.", *OF_GROUP, "action")
        dead = counter("events_dead", "Events that became dead letters.", *OF_GROUP)
        suspected = counter("events_suspected", "Events that became suspects: leases ran out twice.", *OF_GROUP)
        fired = counter("schedules_fired", "Nominal times of schedules that dispatched an event.", *OF_TOPIC)
        skipped = counter("schedules_skipped", "Nominal times that were skipped because of the overlap.", *OF_TOPIC)
        missed = counter("schedules_missed", "Nominal times that were given up.", *OF_TOPIC)

        def of_group(*group: str) -> GroupCounters:
            by_action = {action: nacked.labels(*group, action) for action in NackAction}
            one = [each.labels(*group) for each in (delivered, acked, dead, suspected)]
            return GroupCounters(one[0], one[1], by_action, one[2], one[3])

        def of_schedules(*topic: str) -> ScheduleCounters:
            return ScheduleCounters(*[each.labels(*topic) for each in (fired, skipped, missed)])

        self._dispatched = ByLabels(dispatched.labels, self._labels)
        self._groups = ByLabels(of_group, self._labels)
        self._schedules = ByLabels(of_schedules, self._labels)
        self._redis_errors = counter("redis_errors", "Calls that failed because of Redis.", "kind")
        self._rpcs = counter("rpcs", "Calls that have ended; streams when they end.", "method", "code")

    def _make_histograms(self) -> None:
        self._rpc_durations = BatchHistogram(
            "duebus_rpc_duration_seconds", "Duration of a call that is not a stream.", ("method",), CALL_S
        )
        self._storage = BatchHistogram(
            "duebus_storage_call_duration_seconds",
            "Duration of a write or sync of the journal, or of a script in Redis.",
            ("engine", "operation"),
            CALL_S,
        )
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
        for engine in engines:
            self.streams(engine.name, 0)

    async def scrape(self, accept: str = "") -> Scrape:
        """All metrics, in the format that the header ``accept`` asks for."""
        return encoded((await self.report()).families, accept)

    async def report(self, groups: Groups | None = None) -> Report:
        """All metrics.

        Args:
            groups: those of another process, which reads the gauges for this one; None: this one reads them.
        """
        reads = groups is None
        async with self._gathering:
            if reads is not self._reads or time.monotonic() - self._gathered_s > FRESH_S:
                await self._gauges.gather(reads=reads)
                self._reads, self._gathered_s = reads, time.monotonic()
        if groups is None:
            groups = [each for each in self._gauges.groups() if self._labels.topic(each[1]) != OTHER]
        else:
            self._labels.add_troubled(topic for _, topic, _ in groups)
        for group in groups:
            self._groups[group]  # its counters begin
        return Report(list(self._registry.collect()), groups)

    # --- calls ------------------------------------------------------------------------------------------------------

    def rpc(self, method: str, code: str, seconds: float | None = None, trace_id: str = "") -> None:
        """A call has ended.

        Args:
            method: its path.
            code: the name of its status code.
            seconds: how long it took; None for a stream.
            trace_id: of its trace; empty if it has none.
        """
        path = method.removeprefix("/")
        self._rpcs.labels(path, code).inc()
        if seconds is not None:
            self._rpc_durations.observe((path,), seconds, trace_id)

    # --- the engines' recorder --------------------------------------------------------------------------------------

    def called(self, engine: EngineName, verb: str, seconds: float, batch: int) -> None:
        """An engine's verb has ended: how long it took, and for how many events."""
        trace_id = self._on_engine_call(engine, verb, seconds, batch)
        self._durations.observe((engine, verb), seconds, trace_id)
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
        self._groups[engine, topic, group].delivered.inc(len(batch.events))
        self._lateness.observe_since((engine,), now_us, [event.deliver_at_us for event in batch.events])
        dispatched = [event.dispatched_us for event in batch.events if event.attempt == 1]
        self._latency.observe_since((engine,), now_us, dispatched)

    def streams(self, engine: EngineName, count: int) -> None:
        """This server has so many streams now."""
        self._streams.labels(engine).set(count)

    def acked(self, engine: EngineName, topic: str, group: str, count: int) -> None:
        """Events are done."""
        self._groups[engine, topic, group].acked.inc(count)

    def nacked(self, engine: EngineName, topic: str, group: str, action: NackAction, count: int) -> None:
        """Events were given back."""
        self._groups[engine, topic, group].nacked[action].inc(count)

    def died(self, engine: EngineName, topic: str, group: str, count: int) -> None:
        """Events became dead letters."""
        self._labels.add_troubled([topic])
        self._groups[engine, topic, group].dead.inc(count)

    def suspected(self, engine: EngineName, topic: str, group: str, count: int) -> None:
        """Events became suspects."""
        self._labels.add_troubled([topic])
        self._groups[engine, topic, group].suspected.inc(count)

    def fired(self, engine: EngineName, firing: Firing, outcome: FiringOutcome, now_us: int) -> None:
        """A schedule was fired, or was not."""
        if outcome not in ADVANCED:
            return
        of_topic = (engine, firing.record.topic)
        if firing.missed:
            self._labels.add_troubled([firing.record.topic])
        counters = self._schedules[of_topic]
        counters.missed.inc(firing.missed)
        if outcome is FiringOutcome.SKIPPED:
            counters.skipped.inc()
        if outcome is FiringOutcome.FIRED:
            counters.fired.inc()
            self._dispatched[of_topic].inc()
            late_us = now_us - (firing.record.due_us or now_us)
            self._schedule_lateness.observe((engine,), max(0, late_us) / SECOND)

    def stored(self, engine: EngineName, operation: str, seconds: float) -> None:
        """The journal was written or synced, or a script has run in Redis."""
        self._storage.observe((engine, operation), seconds)


def _kind(cause: BaseException) -> str:
    """The class of the error as a label, such as ``connection``, ``timeout`` or ``out_of_memory``."""
    return _WORD.sub("_", type(cause).__name__.removesuffix("Error")).lower()
