"""What open pages show of all topics: one snapshot for all of them, and what has changed since the last one."""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from duebus_server.domain.clock import SECOND
from duebus_server.domain.errors import DueBusError
from duebus_server.domain.minutes import sum_of_lateness
from duebus_server.domain.states import EventState

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from duebus_server.bus.engines import Engines, RunningEngine
    from duebus_server.domain.minutes import Lateness
    from duebus_server.domain.views import GroupInfo, TopicInfo

    Topics = dict[tuple[str, str], dict[str, Any]]

INTERVAL_S = 1.0
SHARE = 0.04
"""How much of a core the snapshots may take: where there are many topics, they are taken less often."""

HEARTBEAT_S = 15.0
"""A message is sent at least this often, so that a connection that has broken is noticed."""

TOPICS_AT_ONCE = 100
ROUND_US = 100_000
"""Times are rounded to this, so that a clock that is estimated does not change them."""


@dataclass(frozen=True, slots=True)
class Message:
    """What has changed.

    Attributes:
        content: ``now`` in seconds, ``engines``, ``topics`` that are new or differ, and ``removed`` ones.
        encoded: the content as a server-sent event.
    """

    content: dict[str, Any]
    encoded: str

    @property
    def brings_something(self) -> bool:
        """Whether a topic has changed."""
        return bool(self.content["topics"] or self.content["removed"])


class Live:
    """Takes snapshots while a page is open, and none otherwise."""

    def __init__(self, engines: Engines) -> None:
        self._engines = engines
        self._pages = 0
        self._taking: asyncio.Task[None] | None = None
        self._opening = asyncio.Lock()
        self._topics: Topics = {}
        # Grows with each message.
        self._number = 0
        self._latest = _message([], [], [])
        self._whole: Message | None = None
        self._sent = asyncio.Event()

    async def messages(self) -> AsyncIterator[Message]:
        """First all that there is, then what changes, at most once a second. Whoever is too slow gets all again."""
        self._pages += 1
        try:
            async with self._opening:
                if self._taking is None:
                    self._send(await self._take())
                    self._taking = asyncio.create_task(self._keep_taking(), name="snapshots for pages")
            number = -1
            while True:
                is_next, number = number + 1 == self._number, self._number
                yield self._latest if is_next else self._all()
                while self._number == number:
                    await self._sent.wait()
        finally:
            self._pages -= 1
            if not self._pages and self._taking is not None:
                self._taking.cancel()
                self._taking = None

    def _all(self) -> Message:
        if self._whole is None:
            engines = self._latest.content["engines"]
            self._whole = _message(engines, list(self._topics.values()), [], is_first=True)
        return self._whole

    def _send(self, message: Message) -> None:
        self._number += 1
        self._latest, self._whole = message, None
        sent, self._sent = self._sent, asyncio.Event()
        sent.set()

    async def _keep_taking(self) -> None:
        took_s, quiet_s = 0.0, 0.0
        while True:
            pause_s = max(INTERVAL_S, took_s / SHARE)
            await asyncio.sleep(pause_s)
            began_s = time.process_time()
            before, message = self._latest, await self._take()
            took_s = time.process_time() - began_s
            quiet_s += pause_s
            has_changed = message.content["engines"] != before.content["engines"] or message.brings_something
            if has_changed or quiet_s >= HEARTBEAT_S:
                quiet_s = 0.0
                self._send(message)

    async def _take(self) -> Message:
        before = self._topics
        engines: list[dict[str, Any]] = []
        found: Topics = {}
        for running in self._engines:
            state, topics = await _engine(running)
            engines.append(state)
            if topics is None:  # it can't be asked: what was last seen stays
                topics = {key: topic for key, topic in before.items() if key[0] == running.engine.name}
            found.update(topics)
        changed = [topic for key, topic in found.items() if before.get(key) != topic]
        removed = [list(key) for key in before if key not in found]
        self._topics = found
        return _message(engines, changed, removed)


async def _engine(running: RunningEngine) -> tuple[dict[str, Any], Topics | None]:
    """The state of an engine and its topics; None in place of them if they can't be read."""
    engine = running.engine
    problem = running.not_serving() or ""
    topics: Topics = {}
    after = ""
    try:
        while found := await engine.list_topics(after, TOPICS_AT_ONCE):
            now_us = engine.now_us()
            for info in found:
                topics[engine.name, info.topic] = _topic(engine.name, info, now_us)
            after = found[-1].topic
            await asyncio.sleep(0)
    except DueBusError as error:
        return _state(running, problem or str(error)), None
    return _state(running, problem), topics


def _state(running: RunningEngine, problem: str) -> dict[str, Any]:
    return {"engine": running.engine.name, "status": str(running.status), "problem": problem}


def _topic(engine: str, info: TopicInfo, now_us: int) -> dict[str, Any]:
    return {
        "engine": engine,
        "topic": info.topic,
        "problem": info.problem,
        "durable": info.durable,
        "queued": info.queued,
        "maxQueued": info.config.max_queued,
        "lateness": _lateness(sum_of_lateness(group.lateness for group in info.groups)),
        "groups": [_group(group, now_us) for group in info.groups],
    }


def _group(info: GroupInfo, now_us: int) -> dict[str, Any]:
    rates = info.rates
    return {
        "group": info.group,
        "paused": info.paused,
        "ephemeral": info.ephemeral,
        **{str(state): info.counts[state] for state in EventState},
        "subscribers": len(info.subscribers),
        "readySince": _since(info.oldest_ready_age_us, now_us),
        "blockedSince": _since(info.oldest_blocked_age_us, now_us),
        "lateness": _lateness(info.lateness),
        "rates": [round(rate, 2) for rate in (rates.dispatched, rates.delivered, rates.acked, rates.nacked)],
    }


def _lateness(lateness: Lateness) -> list[float] | None:
    """Its median and its 99th percentile, in seconds."""
    return [lateness.quantile_us(share) / SECOND for share in (0.5, 0.99)] if lateness else None


def _since(age_us: int | None, now_us: int) -> float | None:
    """When it began, in seconds, which stays the same while an age grows."""
    return None if age_us is None else (now_us - age_us) // ROUND_US * ROUND_US / 1_000_000


def _message(
    engines: list[dict[str, Any]], topics: list[dict[str, Any]], removed: list[list[str]], *, is_first: bool = False
) -> Message:
    content = {"now": time.time(), "first": is_first, "engines": engines, "topics": topics, "removed": removed}
    return Message(content, f"data: {json.dumps(content)}\n\n")
