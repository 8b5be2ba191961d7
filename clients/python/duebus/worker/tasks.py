"""Runs tasks that end together."""

import asyncio
from collections.abc import Coroutine
from typing import Any

__all__ = ["until_first_ends"]


async def until_first_ends(*coroutines: Coroutine[Any, Any, object]) -> None:
    """Runs coroutines concurrently until one returns or fails, then cancels the others and waits for them to end.

    Unlike `asyncio.TaskGroup` it raises the error itself, not a group of one.
    """
    tasks = [asyncio.ensure_future(coroutine) for coroutine in coroutines]
    try:
        ended, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    for task in ended:
        task.result()
