"""A partition of a topic: the unit that one script works on."""

from __future__ import annotations

import re
from binascii import crc_hqx
from dataclasses import dataclass
from functools import lru_cache
from itertools import count as counting
from zlib import crc32

_OF_SEVERAL = re.compile(r"([^/]+)/(\d+)/(\d+)", re.ASCII)
"""The separator; topic names have no slash."""

SLOTS = 16_384
"""How many slots a Redis Cluster has."""

PLACED_WITHIN = 8
"""A partition's slot is in the middle eighth of its part of the slots."""


@dataclass(frozen=True, slots=True)
class Partition:
    """One of a topic's partitions; for a topic with only one, the topic itself.

    As text it is its name in Redis: ``TOPIC``, or ``TOPIC/NUMBER/COUNT`` if there are several. The count separates what
    was written for one number of partitions from what is written for another.

    Attributes:
        topic: its topic's name.
        number: its number, from 0.
        count: how many partitions the topic has.
    """

    topic: str
    number: int = 0
    count: int = 1

    def __str__(self) -> str:
        return self.topic if self.count == 1 else f"{self.topic}/{self.number}/{self.count}"

    @property
    def hash_tag(self) -> str:
        """The hash tag of its keys, by which Redis Cluster places them.

        The slots of a topic's partitions are evenly spaced, so that nodes with equal ranges of slots get equally many:
        its name is followed by a number that makes it so.
        """
        return self.topic if self.count == 1 else _spaced_tag(self)

    @classmethod
    def read(cls, name: str) -> Partition:
        """A partition from its name in Redis; any other text counts as the name of a topic."""
        found = _OF_SEVERAL.fullmatch(name)
        return cls(name) if found is None else cls(found[1], int(found[2]), int(found[3]))


@lru_cache(maxsize=10_000)
def _spaced_tag(partition: Partition) -> str:
    # Where the first partition is placed depends on the topic: otherwise every topic would begin on the same node.
    place = (partition.number + crc32(partition.topic.encode())) % partition.count
    middle, tolerance = (2 * place + 1) * SLOTS // (2 * partition.count), SLOTS // partition.count // PLACED_WITHIN
    name = crc_hqx(f"{partition}/".encode(), 0)
    number = next(n for n in counting() if abs(crc_hqx(str(n).encode(), name) % SLOTS - middle) <= tolerance // 2)
    return f"{partition}/{number}"


def partitions_of(topic: str, count: int) -> list[Partition]:
    """All of ``count`` partitions of a topic, by number."""
    return [Partition(topic, number, count) for number in range(count)]


def partition_number(text: str, count: int) -> int:
    """The number of the partition, out of ``count``, that a text belongs to by its hash; the same on every replica."""
    return crc32(text.encode()) % count
