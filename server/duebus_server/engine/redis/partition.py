"""A partition of a topic: the unit that one script works on."""

from __future__ import annotations

import re
from dataclasses import dataclass
from zlib import crc32

_OF_SEVERAL = re.compile(r"([^/]+)/(\d+)/(\d+)", re.ASCII)
"""The separator; topic names have no slash."""


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

    @classmethod
    def read(cls, name: str) -> Partition:
        """A partition from its name in Redis; any other text counts as the name of a topic."""
        found = _OF_SEVERAL.fullmatch(name)
        return cls(name) if found is None else cls(found[1], int(found[2]), int(found[3]))


def partitions_of(topic: str, count: int) -> list[Partition]:
    """All of ``count`` partitions of a topic, by number."""
    return [Partition(topic, number, count) for number in range(count)]


def partition_number(text: str, count: int) -> int:
    """The number of the partition, out of ``count``, that a text belongs to by its hash; the same on every replica."""
    return crc32(text.encode()) % count
