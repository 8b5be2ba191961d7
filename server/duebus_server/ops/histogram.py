"""A histogram that observes batches. At a hundred thousand events a second, a call for each event costs too much."""

from __future__ import annotations

import time
from bisect import bisect_left
from itertools import accumulate
from typing import TYPE_CHECKING

from prometheus_client.core import Exemplar, HistogramMetricFamily

from duebus_server.domain.clock import SECOND

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

FEW = 8
"""Up to this many moments, each is looked up among the buckets; beyond that, each bucket among the sorted moments."""


class BatchHistogram:
    """A single-threaded histogram; a collector for prometheus_client.

    Args:
        name: the metric's name.
        documentation: its help text.
        labels: the names of its labels.
        bounds: the upper bounds of the buckets, ascending, without infinity.
    """

    def __init__(self, name: str, documentation: str, labels: Sequence[str], bounds: Sequence[float]) -> None:
        self._name = name
        self._documentation = documentation
        self._labels = labels
        self._bounds = bounds
        self._bounds_us = [round(bound * SECOND) for bound in bounds]
        self._series: dict[tuple[str, ...], _Series] = {}

    def observe(self, labels: tuple[str, ...], value: float, trace_id: str = "") -> None:
        """Observe one value; ``trace_id`` is that of the trace it belongs to, the exemplar of its bucket."""
        series = self._of(labels)
        bucket = bisect_left(self._bounds, value)
        series.counts[bucket] += 1
        series.total += value
        if trace_id:
            series.exemplars[bucket] = Exemplar({"trace_id": trace_id}, value, time.time())

    def observe_since(self, labels: tuple[str, ...], now_us: int, since_us: list[int]) -> None:
        """Observe the seconds from each moment to now, in microseconds since the Unix epoch. Sorts the list."""
        if len(since_us) <= FEW:
            for moment_us in since_us:
                self.observe(labels, (now_us - moment_us) / SECOND)
            return
        since_us.sort()
        series, left = self._of(labels), len(since_us)
        series.total += (left * now_us - sum(since_us)) / SECOND
        for index, bound_us in enumerate(self._bounds_us):
            longer = bisect_left(since_us, now_us - bound_us, hi=left)
            series.counts[index] += left - longer
            left = longer
            if not left:
                return
        series.counts[-1] += left

    def describe(self) -> Iterator[HistogramMetricFamily]:
        """Its name, for the registry."""
        yield self._family()

    def collect(self) -> Iterator[HistogramMetricFamily]:
        """The observations so far."""
        family = self._family()
        names = [str(float(bound)) for bound in self._bounds] + ["+Inf"]
        for labels, series in self._series.items():
            family.add_metric(labels, series.buckets(names), series.total)
        yield family

    def _family(self) -> HistogramMetricFamily:
        return HistogramMetricFamily(self._name, self._documentation, labels=self._labels)

    def _of(self, labels: tuple[str, ...]) -> _Series:
        series = self._series.get(labels)
        if series is None:
            series = self._series[labels] = _Series(len(self._bounds) + 1)
        return series


class _Series:
    """The values of one set of labels.

    Attributes:
        exemplars: the last one of each bucket that has one.
    """

    __slots__ = ("counts", "exemplars", "total")

    def __init__(self, buckets: int) -> None:
        self.counts = [0] * buckets
        self.exemplars: dict[int, Exemplar] = {}
        self.total = 0.0

    def buckets(self, names: Sequence[str]) -> list[tuple[str, float] | tuple[str, float, Exemplar]]:
        """The cumulative counts, each with the name of its bucket and its exemplar."""
        counted = enumerate(zip(names, map(float, accumulate(self.counts)), strict=True))
        return [(*one, self.exemplars[at]) if at in self.exemplars else one for at, one in counted]
