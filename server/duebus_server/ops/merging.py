"""Merges the metrics of several processes of one server."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client.core import Metric

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from prometheus_client.core import Sample

CUMULATIVE = ("counter", "histogram")

SUMMED_GAUGES = {
    "duebus_streams",
    "process_open_fds",
    "process_resident_memory_bytes",
    "process_virtual_memory_bytes",
}
"""Of all other gauges, the least value is shown: the engine is down if one process finds it down."""


def merged(reports: Iterable[Sequence[Metric]]) -> list[Metric]:
    """The metrics of all processes as one: counters and histograms are summed."""
    found: dict[str, tuple[Metric, dict[tuple[str, ...], Sample]]] = {}
    for report in reports:
        for family in report:
            if family.name not in found:
                found[family.name] = Metric(family.name, family.documentation, family.type, family.unit), {}
            is_summed = family.type in CUMULATIVE or family.name in SUMMED_GAUGES
            _add(found[family.name][1], family.samples, is_summed=is_summed)
    for family, samples in found.values():
        family.samples = list(samples.values())
    return [family for family, _ in found.values()]


def counted(report: Iterable[Metric]) -> list[Metric]:
    """What remains of the metrics of a process that has ended: counters must not go back."""
    return [family for family in report if family.type in CUMULATIVE]


def _add(found: dict[tuple[str, ...], Sample], samples: Iterable[Sample], *, is_summed: bool) -> None:
    for sample in samples:
        key = (sample.name, *sample.labels.values())
        before = found.get(key)
        if before is None:
            found[key] = sample
        elif is_summed:
            found[key] = sample._replace(value=before.value + sample.value, exemplar=sample.exemplar or before.exemplar)
        elif sample.value < before.value:
            found[key] = sample
