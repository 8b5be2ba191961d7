"""The number of calls between a verb of the engine and the Redis client."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from support.redis_bus import Replica
    from support.topics import TopicDriver

VERBS: dict[str, Callable[[TopicDriver], Awaitable[object]]] = {
    "dispatch": lambda topic: topic.dispatch("event"),
    "lease": lambda topic: topic.lease(),
    "ack": lambda topic: topic.ack(),
    "nack": lambda topic: topic.nack(),
    "extend": lambda topic: topic.extend(),
    "pause_group": lambda topic: topic.pause(),
    "cancel": lambda topic: topic.cancel("event"),
}


@pytest.mark.parametrize("verb", VERBS)
async def test_a_verb_is_three_frames_from_the_client(
    replica: Replica, topic: TopicDriver, monkeypatch: pytest.MonkeyPatch, verb: str
) -> None:
    """The verb, the runner, and the script."""
    client = replica.engine._engine._runner.connection.scripts
    evalsha = client.evalsha
    found: list[list[str]] = []

    async def noting(*arguments: Any) -> Any:
        frame, path = sys._getframe(1), []
        while frame is not None and frame.f_code.co_qualname != f"RedisEngine.{verb}":
            path.append(frame.f_code.co_qualname)
            if frame.f_code.co_qualname == f"AdminVerbs.{verb}":
                break
            frame = frame.f_back  # type: ignore[assignment]
        found.append(path)
        return await evalsha(*arguments)

    await topic.join()
    await topic.dispatch("first")
    monkeypatch.setattr(client, "evalsha", noting)
    await VERBS[verb](topic)
    assert [path[:2] for path in found][-1] == ["Script.run", "Runner.run"]
    assert all(path[2:] in ([], [f"AdminVerbs.{verb}"]) for path in found)
