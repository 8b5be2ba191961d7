"""The metrics of several processes as one."""

from __future__ import annotations

from duebus_server.domain.model import EngineName
from duebus_server.ops.histogram import BatchHistogram
from duebus_server.ops.merging import counted, merged
from duebus_server.ops.metrics import Metrics, encoded
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families

OPENMETRICS = "application/openmetrics-text;version=1.0.0"


def counter(**topics: int) -> Metric:
    family = CounterMetricFamily("duebus_events_dispatched", "Events.", labels=("engine", "topic"))
    for topic, count in topics.items():
        family.add_metric(("redis", topic), count)
    return family


def gauge(name: str, value: float) -> Metric:
    family = GaugeMetricFamily(name, "A gauge.", labels=("engine",))
    family.add_metric(("redis",), value)
    return family


def values(families: list[Metric]) -> dict[tuple[str, ...], float]:
    """All samples, by name and labels."""
    return {(each.name, *each.labels.values()): each.value for family in families for each in family.samples}


def test_counters_are_summed_by_their_labels() -> None:
    assert values(merged([[counter(orders=1, bills=2)], [counter(orders=10)], [counter(users=5)]])) == {
        ("duebus_events_dispatched_total", "redis", "orders"): 11,
        ("duebus_events_dispatched_total", "redis", "bills"): 2,
        ("duebus_events_dispatched_total", "redis", "users"): 5,
    }


def test_gauges_of_a_process_are_summed_and_an_engine_is_down_if_one_process_finds_it_down() -> None:
    first = [gauge("duebus_streams", 3), gauge("duebus_engine_up", 1)]
    second = [gauge("duebus_streams", 4), gauge("duebus_engine_up", 0)]
    assert values(merged([first, second])) == {("duebus_streams", "redis"): 7, ("duebus_engine_up", "redis"): 0}


def test_histograms_are_summed_bucket_by_bucket_and_keep_an_exemplar() -> None:
    # given: two processes, the first with a trace in its exemplar
    histograms = [BatchHistogram("duebus_rpc_duration_seconds", "Calls.", ("method",), (0.1, 1)) for _ in range(2)]
    histograms[0].observe(("Ack",), 0.05, trace_id="0af7651916cd43dd8448eb211c80319c")
    histograms[1].observe(("Ack",), 0.05)
    histograms[1].observe(("Ack",), 5)

    # when: they are merged and read, as OpenMetrics
    families = merged([list(histogram.collect()) for histogram in histograms])
    (read,) = parse_openmetrics(encoded(families, OPENMETRICS).text.decode())  # type: ignore[no-untyped-call]

    # then
    assert [sample.value for sample in read.samples] == [2, 2, 3, 3, 5.1]
    assert [sample.exemplar.labels["trace_id"] for sample in read.samples if sample.exemplar] == [
        "0af7651916cd43dd8448eb211c80319c"
    ]


def test_a_process_that_has_ended_leaves_what_it_had_counted() -> None:
    ended = counted([counter(orders=7), gauge("duebus_streams", 3)])
    assert values(merged([[counter(orders=1), gauge("duebus_streams", 1)], ended])) == {
        ("duebus_events_dispatched_total", "redis", "orders"): 8,
        ("duebus_streams", "redis"): 1,
    }


async def test_metrics_of_one_process_stay_as_they_are() -> None:
    metrics = Metrics(topics=1)
    metrics.called(EngineName.REDIS, "ack", 0.1, 1)
    metrics.dispatched(EngineName.REDIS, "orders", 1)
    families = (await metrics.report()).families
    before, after = (encoded(each, "").text.decode() for each in (families, merged([families])))
    assert list(text_string_to_metric_families(after)) == list(text_string_to_metric_families(before))
