"""How long a call may take: its script may have to be sent again, and called again for other groups."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from duebus_server.domain.clock import SystemClock
from duebus_server.domain.errors import DispatcherNotWorking
from duebus_server.engine.redis.keys import Keys
from duebus_server.engine.redis.partition import Partition
from duebus_server.engine.redis.transport.clients import ANSWER_TIMEOUT_S
from duebus_server.engine.redis.transport.runner import Runner
from duebus_server.engine.redis.transport.scripts import Script
from redis.exceptions import NoScriptError
from support.virtual_time import VirtualTimeLoop

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

GROUPS = b"groups\0one\0other"


class SlowClient:
    """A client of a Redis that takes most of a call's time for each answer."""

    def __init__(self, answer: bytes, *, knows_scripts: bool = True) -> None:
        self._answer = answer
        self._knows_scripts = knows_scripts

    async def evalsha(self, *_: Any) -> bytes:
        await asyncio.sleep(0.8 * ANSWER_TIMEOUT_S)
        if not self._knows_scripts:
            raise NoScriptError
        return self._answer

    async def eval(self, *_: Any) -> bytes:
        await asyncio.sleep(0.8 * ANSWER_TIMEOUT_S)
        return self._answer


def seconds_until_given_up(call: Callable[[Runner], Awaitable[Any]], client: SlowClient) -> float:
    """How long a call takes until it fails, because Redis does not answer in time."""

    async def given_up() -> float:
        connection: Any = SimpleNamespace(scripts=client, checks_keys=True)
        runner = Runner(connection, Keys("duebus"), "replica", SystemClock())
        runner.is_working = True
        with pytest.raises(DispatcherNotWorking, match="Redis does not answer"):
            await call(runner)
        return asyncio.get_running_loop().time()

    with asyncio.Runner(loop_factory=VirtualTimeLoop) as loop:
        return loop.run(given_up())


@pytest.mark.parametrize(
    "call",
    [
        lambda runner: runner.run(Script("backlog"), Partition("orders"), "default"),
        lambda runner: runner.add("set", "orders", "member"),
    ],
    ids=["run", "run on"],
)
def test_a_script_that_is_sent_again_has_what_is_left_of_the_time(call: Callable[[Runner], Awaitable[Any]]) -> None:
    client = SlowClient(b"answer", knows_scripts=False)
    assert seconds_until_given_up(call, client) == ANSWER_TIMEOUT_S


def test_a_script_that_is_called_again_for_other_groups_has_what_is_left_of_the_time() -> None:
    script, client = Script("dispatch"), SlowClient(GROUPS)
    taken_s = seconds_until_given_up(lambda runner: runner.run(script, Partition("orders")), client)
    assert taken_s == ANSWER_TIMEOUT_S
