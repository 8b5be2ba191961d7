"""Several tasks at once."""

from __future__ import annotations

from asyncio import ensure_future, gather
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Awaitable, Iterable

T = TypeVar("T")


async def all_of(tasks: Iterable[Awaitable[T]]) -> list[T]:
    """What all of them return, when all are done; the first error if there was one."""
    under_way = [ensure_future(task) for task in tasks]
    await gather(*under_way, return_exceptions=True)
    return [task.result() for task in under_way]
