"""Batches calls: items that arrive while a call is running go into the next one.

No item waits for others: one that arrives alone is carried out at once.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Hashable, Sequence

K = TypeVar("K", bound="Hashable")
I = TypeVar("I")  # noqa: E741  # an item, beside K and R
R = TypeVar("R")

PARTITIONS_AT_ONCE = 8
"""How many times larger a call for a topic of many partitions may be,
because all of it may belong to one of them."""


class Coalescer(Generic[K, I, R]):
    """Runs one call at a time for each key. Items that arrive meanwhile share the next call.

    Args:
        carry_out: carries out a batch of one key, and returns one result for each item, in order. What it raises is
            raised to every caller whose item is in the batch.
        weight: returns the weight of an item.
        max_weight: returns the limit of a key's batches; an item that exceeds it goes alone.
    """

    def __init__(
        self,
        carry_out: Callable[[K, list[I]], Awaitable[Sequence[R]]],
        weight: Callable[[I], int],
        max_weight: Callable[[K], int],
    ) -> None:
        self._carry_out = carry_out
        self._weight = weight
        self._max_weight = max_weight
        # Has the key of each call that is running.
        self._waiting: dict[K, deque[tuple[I, asyncio.Future[R]]]] = {}
        self._runs: set[asyncio.Task[None]] = set()

    async def submit(self, key: K, item: I) -> R:
        """Carry out an item, alone or with others of its key.

        Raises:
            Exception: what ``carry_out`` raised.
        """
        waiting = self._waiting.get(key)
        if waiting is not None:
            result: asyncio.Future[R] = asyncio.get_running_loop().create_future()
            waiting.append((item, result))
            try:
                return await result
            finally:
                del result  # the traceback of an error refers to this frame, and the result to the error
        self._waiting[key] = deque()
        try:
            (only,) = await self._carry_out(key, [item])
            return only
        finally:
            self._start_next(key)

    def _start_next(self, key: K) -> None:
        """Start the next call, if items have arrived."""
        if self._waiting[key]:
            run = asyncio.create_task(self._run(key))
            self._runs.add(run)
            run.add_done_callback(self._runs.discard)
        else:
            del self._waiting[key]

    async def _run(self, key: K) -> None:
        batch = self._next_batch(self._waiting[key], self._max_weight(key))
        try:
            results = await self._carry_out(key, [item for item, _ in batch])
        except BaseException as error:  # noqa: BLE001  # raised to every caller that waits
            _fail([result for _, result in batch], error)
            del batch  # as in ``submit``
        else:
            for (_, result), value in zip(batch, results, strict=True):
                if not result.done():  # its caller may have given up
                    result.set_result(value)
        finally:
            self._start_next(key)

    def _next_batch(
        self, waiting: deque[tuple[I, asyncio.Future[R]]], max_weight: int
    ) -> list[tuple[I, asyncio.Future[R]]]:
        batch = [waiting.popleft()]
        weight = self._weight(batch[0][0])
        while waiting and weight + self._weight(waiting[0][0]) <= max_weight:
            batch.append(waiting.popleft())
            weight += self._weight(batch[-1][0])
        return batch


def _fail(results: list[asyncio.Future[R]], error: BaseException) -> None:
    for result in results:
        if not result.done():  # its caller may have given up
            result.set_exception(error)
