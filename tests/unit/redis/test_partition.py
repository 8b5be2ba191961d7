"""Partitions as text, the choice of a partition, and merged answers of several."""

from __future__ import annotations

import pytest
from duebus_server.domain.model import DispatchAnswer, DispatchRequest, NewEvent
from duebus_server.engine.redis.partition import Partition, partition_number, partitions_of
from duebus_server.engine.redis.partitioned.dispatch import Progress


@pytest.mark.parametrize(
    ("partition", "name"),
    [
        (Partition("orders"), "orders"),
        (Partition("orders", 0, 4), "orders/0/4"),
        (Partition("o.r_d-e", 63, 64), "o.r_d-e/63/64"),
    ],
)
def test_a_partition_is_parsed_from_its_text(partition: Partition, name: str) -> None:
    assert str(partition) == name
    assert Partition.read(name) == partition


@pytest.mark.parametrize("name", ["", "/", "a/b", "a/b/c", "a/1", "a/1/2/3", "a/-1/2", "a/\u0661/2", "/1/2"])
def test_any_other_text_is_a_topic(name: str) -> None:
    assert Partition.read(name) == Partition(name)


def test_texts_are_distributed_over_all_partitions() -> None:
    shares = [0] * 64
    for number in range(6_400):
        shares[partition_number(f"order {number}", 64)] += 1
    assert len(partitions_of("orders", 64)) == 64
    assert min(shares) > 50
    assert max(shares) < 200
    assert partition_number("order 1", 4) == 2, "all replicas and versions must agree on this"


@pytest.mark.parametrize(
    ("duplicates", "expected"),
    [([["a", "a"], ["b"]], ["a", "b", "a"]), ([["a"], ["b"]], ["b", "a"])],
    ids=["all are known", "one of the same request is new"],
)
def test_duplicates_of_several_partitions_are_in_request_order(
    duplicates: list[list[str]], expected: list[str]
) -> None:
    progress = Progress.of(DispatchRequest([NewEvent(each, b"") for each in "aba"]))
    progress.add_answer([1], DispatchAnswer(["b"], duplicates[1]))
    progress.add_answer([0, 2], DispatchAnswer(["a", "a"], duplicates[0]))
    assert progress.outcome() == DispatchAnswer(["a", "b", "a"], expected)
