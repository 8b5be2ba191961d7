"""Compares DueIndex with a binary heap in plain Python in which each item knows its index. Run it; it is not a test:

    .venv/bin/python tests/bench/due_index.py --sizes 1000 100000 --runs 5

Prints nanoseconds an operation: the median of several runs, in which the two take turns.
"""

from __future__ import annotations

import argparse
import gc
import random
import statistics
import time
from collections import defaultdict
from typing import TYPE_CHECKING, Protocol

from duebus_server.engine.local.due_index import DueIndex, sort_key
from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

Key = tuple[int, int]

OPERATIONS = 10_000
"""How many of each operation are timed, unless there are fewer items."""


class Index(Protocol):
    """The interface of both; keys are (time, sequence number)."""

    def push(self, key: Key) -> None:
        """Put a key in."""

    def remove(self, key: Key) -> None:
        """Take a key out, wherever it is."""

    def pop_first(self) -> Key:
        """Take the earliest out."""


class SortedBlocks:
    """The index of the local engine."""

    def __init__(self, keys: Iterable[Key]) -> None:
        self._index: DueIndex[Key] = DueIndex()
        for key in keys:
            self.push(key)

    def push(self, key: Key) -> None:
        self._index.add(sort_key(*key), key)

    def remove(self, key: Key) -> None:
        self._index.remove(sort_key(*key))

    def pop_first(self) -> Key:
        first = self._index.first()
        assert first is not None
        self._index.remove(sort_key(*first[1]))
        return first[1]


class IndexedHeap:
    """A binary heap of [time, sequence number, index]; ``_nodes`` finds a node, and the node knows its index."""

    def __init__(self, keys: Iterable[Key]) -> None:
        # What is sorted is a heap.
        self._heap = [[*key, index] for index, key in enumerate(sorted(keys))]
        self._nodes = {(node[0], node[1]): node for node in self._heap}

    def push(self, key: Key) -> None:
        node = [*key, len(self._heap)]
        self._nodes[key] = node
        self._heap.append(node)
        self._sift_up(node, len(self._heap) - 1)

    def remove(self, key: Key) -> None:
        """Take a key out: the last one takes its place and goes up or down from there."""
        node = self._nodes.pop(key)
        last = self._heap.pop()
        if last is node:
            return
        if not self._sift_up(last, node[2]):
            self._sift_down(last, node[2])

    def pop_first(self) -> Key:
        first = self._heap[0]
        key = (first[0], first[1])
        self.remove(key)
        return key

    def _sift_up(self, node: list[int], index: int) -> bool:
        heap = self._heap
        start = index
        while index:
            parent = heap[(index - 1) >> 1]
            if parent < node:
                break
            heap[index] = parent
            parent[2] = index
            index = (index - 1) >> 1
        heap[index] = node
        node[2] = index
        return index != start

    def _sift_down(self, node: list[int], index: int) -> None:
        heap = self._heap
        end = len(heap)
        while (child := 2 * index + 1) < end:
            if child + 1 < end and heap[child + 1] < heap[child]:
                child += 1
            smallest = heap[child]
            if node < smallest:
                break
            heap[index] = smallest
            smallest[2] = index
            index = child
        heap[index] = node
        node[2] = index


CONTENDERS: dict[str, Callable[[Iterable[Key]], Index]] = {"DueIndex": SortedBlocks, "indexed heap": IndexedHeap}


class Workload:
    """The workload, the same for both: initial, added and removed items."""

    def __init__(self, size: int, seed: int) -> None:
        rng = random.Random(seed)
        count = min(OPERATIONS, size)
        span = 100 * size
        self.there = sorted((rng.randrange(span), seq) for seq in range(size))
        self.scheduled = [(rng.randrange(span), size + nth) for nth in range(count)]
        self.for_now = [(span + nth, size + count + nth) for nth in range(count)]
        self.cancelled = rng.sample(self.there + self.scheduled, count)

    def run(self, index: Index) -> tuple[dict[str, float], list[Key]]:
        """Nanoseconds of each operation, and the popped items, which must be the same for both."""
        popped: list[Key] = []
        took = {
            "push, due at random": _time(index.push, self.scheduled),
            "push, due last": _time(index.push, self.for_now),
            "remove from anywhere": _time(index.remove, self.cancelled),
            "pop the first": _time(lambda _: popped.append(index.pop_first()), self.for_now),
        }
        return took, popped


def _time(operation: Callable[[Key], None], keys: Sequence[Key]) -> float:
    started_ns = time.perf_counter_ns()
    for key in keys:
        operation(key)
    return (time.perf_counter_ns() - started_ns) / len(keys)


def compare(size: int, runs: int) -> dict[str, dict[str, float]]:
    """For each operation and contender the median, in nanoseconds an operation."""
    figures: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for run in range(runs):
        workload = Workload(size, seed=run)
        popped: list[list[Key]] = []
        turn = list(CONTENDERS.items())
        for name, make in turn if run % 2 == 0 else reversed(turn):
            index = make(workload.there)
            gc.collect()
            gc.disable()
            took, order = workload.run(index)
            gc.enable()
            popped.append(order)
            for operation, nanoseconds in took.items():
                figures[operation][name].append(nanoseconds)
            del index
        if popped[0] != popped[1]:
            raise AssertionError("the two do not agree on the order")
    return {
        operation: {name: statistics.median(values) for name, values in by_name.items()}
        for operation, by_name in figures.items()
    }


def main() -> None:
    """Compare at each size and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[1_000, 10_000, 100_000, 1_000_000])
    parser.add_argument("--runs", type=int, default=5)
    options = parser.parse_args()
    table = Table("items", "operation", *(f"{name}, ns" for name in CONTENDERS), "heap / DueIndex")
    for size in options.sizes:
        for operation, medians in compare(size, options.runs).items():
            ours, heap = medians.values()
            table.add_row(f"{size:,}", operation, f"{ours:,.0f}", f"{heap:,.0f}", f"{heap / ours:.1f}")
        table.add_section()
    Console().print(table)


if __name__ == "__main__":
    main()
