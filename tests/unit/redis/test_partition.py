"""Partitions as text, the choice of a partition, and merged answers of several."""

from __future__ import annotations

from collections import Counter

import pytest
from duebus_server.domain.model import DispatchAnswer, DispatchRequest, NewEvent
from duebus_server.engine.redis.partition import SLOTS, Partition, partition_number, partitions_of
from duebus_server.engine.redis.partitioned.dispatch import Progress
from redis.crc import key_slot


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


@pytest.mark.parametrize("count", [2, 3, 6, 12, 48, 64])
@pytest.mark.parametrize("nodes", [2, 3, 6])
@pytest.mark.parametrize("topic", ["orders", "invoices", "a", "o.r_d-e"])
def test_nodes_of_a_cluster_have_equally_many_partitions(topic: str, nodes: int, count: int) -> None:
    tags = [partition.hash_tag for partition in partitions_of(topic, count)]

    held = Counter(key_slot(f"duebus:{{{tag}}}:events".encode()) * nodes // SLOTS for tag in tags)

    assert len(set(tags)) == count
    assert max(held.values()) == -(-count // nodes)


def test_topics_begin_on_different_nodes() -> None:
    first = {key_slot(Partition(f"topic-{number}", 0, 3).hash_tag.encode()) * 3 // SLOTS for number in range(20)}
    assert first == {0, 1, 2}


def test_a_hash_tag_never_changes() -> None:
    """All replicas and versions must agree on this."""
    assert Partition("orders").hash_tag == "orders"
    assert [one.hash_tag for one in partitions_of("orders", 3)] == ["orders/0/3/60", "orders/1/3/12", "orders/2/3/112"]


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
