"""The partitions of a topic by name. What works on one takes it for a topic of the name ``TOPIC/NUMBER/COUNT``.

A topic with one partition is that partition. No other name has a slash, and the count in it keeps what was written for
one number of partitions apart from what is written for another.
"""

from __future__ import annotations

from asyncio import ensure_future, gather
from typing import TYPE_CHECKING, TypeVar
from zlib import crc32

if TYPE_CHECKING:
    from collections.abc import Awaitable, Iterable

T = TypeVar("T")

SEPARATOR = "/"


def partition(topic: str, number: int, count: int) -> str:
    """One of ``count`` partitions of a topic."""
    return topic if count == 1 else f"{topic}{SEPARATOR}{number}{SEPARATOR}{count}"


def partitions(topic: str, count: int) -> list[str]:
    """All partitions of a topic."""
    return [partition(topic, number, count) for number in range(count)]


def topic_of(name: str) -> str:
    """Whose partition it is."""
    return name.partition(SEPARATOR)[0]


def number_of(name: str) -> int:
    """Which partition it is."""
    parts = name.split(SEPARATOR)
    return int(parts[1]) if len(parts) > 1 else 0


def count_of(name: str) -> int:
    """How many there are with it."""
    parts = name.split(SEPARATOR)
    return int(parts[2]) if len(parts) > 1 else 1


def is_partition(name: str) -> bool:
    """Whether it is one of several."""
    return SEPARATOR in name


def partition_number(text: str, count: int) -> int:
    """Which of ``count`` partitions something belongs to by its hash; the same on every replica."""
    return crc32(text.encode()) % count


async def all_of(tasks: Iterable[Awaitable[T]]) -> list[T]:
    """What all of them return, when all are done; the first error, if there was one."""
    under_way = [ensure_future(task) for task in tasks]
    await gather(*under_way, return_exceptions=True)
    return [task.result() for task in under_way]
