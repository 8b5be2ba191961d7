"""A histogram that takes whole batches: at a hundred thousand events a second, one call for each costs too much."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from itertools import accumulate
from typing import TYPE_CHECKING

from prometheus_client.core import HistogramMetricFamily

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

FEW = 8
"""Up to so many values are looked up in the buckets; of more, the buckets are looked up in the sorted values."""


class BatchHistogram:
    """A histogram for one thread, as a collector of prometheus_client.

    Args:
        name: of the metric.
        documentation: its help text.
        labels: the names of its labels.
        bounds: the upper bounds of the buckets, rising, without infinity.
    """

    def __init__(self, name: str, documentation: str, labels: Sequence[str], bounds: Sequence[float]) -> None:
        self._name = name
        self._documentation = documentation
        self._labels = labels
        self._bounds = bounds
        self._series: dict[tuple[str, ...], _Series] = {}

    def observe(self, labels: tuple[str, ...], value: float) -> None:
        """One value."""
        series = self._of(labels)
        series.counts[bisect_left(self._bounds, value)] += 1
        series.total += value

    def observe_all(self, labels: tuple[str, ...], values: list[float]) -> None:
        """Many values; the list is sorted by this."""
        if len(values) <= FEW:
            for value in values:
                self.observe(labels, value)
            return
        values.sort()
        series, seen = self._of(labels), 0
        series.total += sum(values)
        for place, bound in enumerate(self._bounds):
            up_to = bisect_right(values, bound, lo=seen)
            series.counts[place] += up_to - seen
            seen = up_to
            if seen == len(values):
                return
        series.counts[-1] += len(values) - seen

    def describe(self) -> Iterator[HistogramMetricFamily]:
        """Its name, for the registry."""
        yield self._family()

    def collect(self) -> Iterator[HistogramMetricFamily]:
        """What has been seen so far."""
        family = self._family()
        names = [str(float(bound)) for bound in self._bounds] + ["+Inf"]
        for labels, series in self._series.items():
            buckets = list(zip(names, map(float, accumulate(series.counts)), strict=True))
            family.add_metric(labels, buckets, series.total)
        yield family

    def _family(self) -> HistogramMetricFamily:
        return HistogramMetricFamily(self._name, self._documentation, labels=self._labels)

    def _of(self, labels: tuple[str, ...]) -> _Series:
        series = self._series.get(labels)
        if series is None:
            series = self._series[labels] = _Series(len(self._bounds) + 1)
        return series


class _Series:
    """The values of one set of labels."""

    __slots__ = ("counts", "total")

    def __init__(self, buckets: int) -> None:
        self.counts = [0] * buckets
        self.total = 0.0
