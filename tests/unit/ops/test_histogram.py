"""The histogram that takes batches counts as one would that takes values one by one."""

from __future__ import annotations

from bisect import bisect_left

from duebus_server.ops.histogram import FEW, BatchHistogram
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import generate_latest

BOUNDS = (0.001, 0.01, 0.1, 1.0)
LABELS = ("local",)


def histogram() -> BatchHistogram:
    return BatchHistogram("duebus_lateness_seconds", "How late.", ("engine",), BOUNDS)


def buckets(made: BatchHistogram) -> dict[str, float]:
    """Cumulative, by bound, with the sum and the count."""
    (family,) = made.collect()
    return {sample.labels.get("le", sample.name.rpartition("_")[2]): sample.value for sample in family.samples}


@given(st.lists(st.floats(0, 2, allow_nan=False) | st.sampled_from(BOUNDS), max_size=5 * FEW))
def test_a_batch_counts_as_its_values_do(values: list[float]) -> None:
    made = histogram()
    made.observe_all(LABELS, list(values))
    made.observe_all(LABELS, [])
    if not values:
        return
    expected = {str(bound): float(sum(value <= bound for value in values)) for bound in BOUNDS}
    found = buckets(made)
    assert abs(found.pop("sum") - sum(values)) < 1e-9
    assert found == {**expected, "+Inf": len(values), "count": len(values)}


def test_a_bound_belongs_to_its_bucket() -> None:
    """As Prometheus has it: less or equal."""
    assert bisect_left(BOUNDS, 0.01) == 1
    made = histogram()
    made.observe(LABELS, 0.01)
    assert buckets(made)["0.01"] == 1
    assert buckets(made)["0.001"] == 0


def test_it_is_written_as_prometheus_reads_it() -> None:
    made, registry = histogram(), CollectorRegistry()
    registry.register(made)
    made.observe_all(LABELS, [0.5] * 20)
    written = generate_latest(registry).decode().splitlines()
    assert "# TYPE duebus_lateness_seconds histogram" in written
    assert 'duebus_lateness_seconds_bucket{engine="local",le="1.0"} 20.0' in written
    assert 'duebus_lateness_seconds_bucket{engine="local",le="+Inf"} 20.0' in written
    assert 'duebus_lateness_seconds_sum{engine="local"} 10.0' in written
