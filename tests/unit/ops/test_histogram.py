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
NOW_US = 1_767_225_600_000_000


def histogram() -> BatchHistogram:
    return BatchHistogram("duebus_lateness_seconds", "How late.", ("engine",), BOUNDS)


def buckets(made: BatchHistogram) -> dict[str, float]:
    """Cumulative, by bound, with the sum and the count."""
    (family,) = made.collect()
    return {sample.labels.get("le", sample.name.rpartition("_")[2]): sample.value for sample in family.samples}


@given(st.lists(st.integers(0, 2_000_000) | st.sampled_from([round(bound * 1e6) for bound in BOUNDS]), max_size=40))
def test_a_batch_counts_like_its_single_values(waited_us: list[int]) -> None:
    assert max(len(waited_us), 5 * FEW) == 5 * FEW, "both ways are tried"
    made = histogram()
    made.observe_since(LABELS, NOW_US, [NOW_US - each for each in waited_us])
    made.observe_since(LABELS, NOW_US, [])
    if not waited_us:
        return
    expected = {str(bound): float(sum(each <= round(bound * 1e6) for each in waited_us)) for bound in BOUNDS}
    found = buckets(made)
    assert abs(found.pop("sum") - sum(waited_us) / 1e6) < 1e-6
    assert found == {**expected, "+Inf": len(waited_us), "count": len(waited_us)}


def test_a_bound_belongs_to_its_bucket() -> None:
    """Prometheus counts values less than or equal to the bound."""
    assert bisect_left(BOUNDS, 0.01) == 1
    made = histogram()
    made.observe(LABELS, 0.01)
    assert buckets(made)["0.01"] == 1
    assert buckets(made)["0.001"] == 0


def test_it_is_exported_in_prometheus_format() -> None:
    made, registry = histogram(), CollectorRegistry()
    registry.register(made)
    made.observe_since(LABELS, NOW_US, [NOW_US - 500_000] * 20)
    written = generate_latest(registry).decode().splitlines()
    assert "# TYPE duebus_lateness_seconds histogram" in written
    assert 'duebus_lateness_seconds_bucket{engine="local",le="1.0"} 20.0' in written
    assert 'duebus_lateness_seconds_bucket{engine="local",le="+Inf"} 20.0' in written
    assert 'duebus_lateness_seconds_sum{engine="local"} 10.0' in written
