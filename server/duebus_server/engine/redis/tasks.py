"""Several tasks at once."""

from __future__ import annotations

from asyncio import ensure_future, gather
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Awaitable, Iterable

T = TypeVar("T")


async def all_of(tasks: Iterable[Awaitable[T]]) -> list[T]:
    """Wait for all of them. Returns their results, or raises the first error."""
    awaited = list(tasks)
    if len(awaited) == 1:
        return [await awaited[0]]
    under_way = [ensure_future(each) for each in awaited]
    await gather(*under_way, return_exceptions=True)
    return [task.result() for task in under_way]
