"""Helpers for tests of topics with several partitions."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from duebus_server.domain.errors import PartitionsChanging
from duebus_server.domain.model import DispatchAnswer
from duebus_server.engine.redis.partition import Partition, partition_number, partitions_of

from support.wire import SIGNAL_TIMEOUT_S

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    import pytest

    from support.redis_bus import RedisBus
    from support.topics import TopicDriver


COUNT = 4


def in_partition(number: int, prefix: str = "id") -> str:
    """An id of an event or a request that belongs to this one of four partitions."""
    return next(name for name in (f"{prefix}-{nth}" for nth in range(1_000)) if partition_number(name, COUNT) == number)


async def dispatch_one_each(topic: TopicDriver, prefix: str = "id") -> list[str]:
    """An event in each partition, each in its own request, which is repeated while the partitions are being changed."""
    names = [in_partition(number, prefix) for number in range(COUNT)]
    async with asyncio.timeout(SIGNAL_TIMEOUT_S):
        for name in names:
            while isinstance(answer := await topic.try_dispatch(name), PartitionsChanging):
                pass
            assert isinstance(answer, DispatchAnswer), answer
    return names


def held_in(bus: RedisBus, topic: TopicDriver) -> list[int]:
    """How many events each partition holds."""
    return [bus.raw.hlen(bus.key(name, "events")) for name in partitions_of(topic.name, COUNT)]


def of(topic: TopicDriver, keys: set[str]) -> set[str]:
    """The keys of a topic and its partitions."""
    return {key for key in keys if key.startswith("{" + topic.name)}


class Broken(Exception):
    """The replica died at this step."""


async def break_off(
    engine: Any, verb: Callable[[], Awaitable[Any]], step: int, monkeypatch: pytest.MonkeyPatch, script_name: str = ""
) -> bool:
    """Call something, and die before its ``step``th script or the script of this name. False if it runs fewer."""
    run, left = engine._engine._runner.run, step

    async def dies(script: Any, name: Partition, *arguments: Any, **more: Any) -> Any:
        nonlocal left
        left -= script_name in ("", script.name)
        if left < 0:
            raise Broken
        return await run(script, name, *arguments, **more)

    with monkeypatch.context() as patch:
        patch.setattr(engine._engine._runner, "run", dies)
        try:
            await verb()
        except Broken:
            return True
    return False


async def partitions_with(bus: RedisBus, topic: TopicDriver, *names: str) -> set[str]:
    """The hash tags of partitions that have one of these keys, less those of the partitions that the topic has."""
    (await topic.engine.get_topic(topic.name))  # finishes the interrupted change
    count = (await topic.engine.config_of(topic.name)).partitions
    found = {key[1:].partition("}")[0] for key in of(topic, bus.stored_keys()) if key.rpartition(":")[2] in names}
    return found - {one.hash_tag for one in partitions_of(topic.name, count)}
