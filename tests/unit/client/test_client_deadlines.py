"""One timer for many deadlines."""

from __future__ import annotations

import asyncio
import math
from dataclasses import dataclass

from duebus._aio.deadlines import Deadlines
from support.virtual_time import VirtualTimeLoop


@dataclass(eq=False)
class Waiting:
    deadline: float


def expired_at(*deadlines: float, leaves_at: float = math.inf, leaver: int = 0) -> list[tuple[float, float]]:
    """Records which items expired, and when; an item may be removed before."""
    expired: list[tuple[float, float]] = []

    async def wait() -> None:
        loop = asyncio.get_running_loop()
        waits = Deadlines[Waiting](lambda each: expired.append((each.deadline, loop.time())))
        waiting = [Waiting(deadline) for deadline in deadlines]
        for each in waiting:
            waits.add(each)
        if leaves_at < math.inf:
            loop.call_at(leaves_at, waits.remove, waiting[leaver])
        await asyncio.sleep(100)

    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        runner.run(wait())
    return expired


def test_each_expires_at_its_own_deadline_in_any_order_of_arrival() -> None:
    assert expired_at(5, 2, 9, 2) == [(2, 2), (2, 2), (5, 5), (9, 9)]


def test_a_removed_item_does_not_expire() -> None:
    assert expired_at(5, 9, leaves_at=4) == [(9, 9)]


def test_an_item_without_a_deadline_never_expires() -> None:
    assert expired_at(math.inf) == []
    assert expired_at(math.inf, 7, math.inf) == [(7, 7)]
