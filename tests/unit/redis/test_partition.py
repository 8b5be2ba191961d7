"""Partitions as text, and which one something belongs to."""

from __future__ import annotations

import pytest
from duebus_server.engine.redis.partition import Partition, partition_number, partitions_of


@pytest.mark.parametrize(
    ("partition", "name"),
    [
        (Partition("orders"), "orders"),
        (Partition("orders", 0, 4), "orders/0/4"),
        (Partition("o.r_d-e", 63, 64), "o.r_d-e/63/64"),
    ],
)
def test_a_partition_is_read_as_it_was_written(partition: Partition, name: str) -> None:
    assert str(partition) == name
    assert Partition.read(name) == partition


@pytest.mark.parametrize("name", ["", "/", "a/b", "a/b/c", "a/1", "a/1/2/3", "a/-1/2", "a/\u0661/2", "/1/2"])
def test_what_is_no_partition_is_taken_for_a_topic(name: str) -> None:
    assert Partition.read(name) == Partition(name)


def test_every_text_belongs_to_one_partition_and_all_get_their_share() -> None:
    shares = [0] * 64
    for number in range(6_400):
        shares[partition_number(f"order {number}", 64)] += 1
    assert len(partitions_of("orders", 64)) == 64
    assert min(shares) > 50
    assert max(shares) < 200
    assert partition_number("order 1", 4) == 2, "as other replicas, and other versions, have it"
