"""What open pages show of topics and schedules: one snapshot for all pages, and what has changed since the last one."""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from google.protobuf.json_format import MessageToDict

from duebus_server.domain.clock import SECOND
from duebus_server.domain.errors import DueBusError
from duebus_server.domain.minutes import sum_of_lateness
from duebus_server.domain.schedules import fills_answer
from duebus_server.domain.states import EventState
from duebus_server.wire.schedule_codec import schedule_info
from duebus_server.wire.status import unexpected

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from duebus_server.bus.engines import Engines
    from duebus_server.domain.minutes import Lateness
    from duebus_server.domain.schedules import ScheduleRecord
    from duebus_server.domain.views import GroupInfo, TopicInfo
    from duebus_server.engine.base import Engine

T = TypeVar("T")

if TYPE_CHECKING:
    # By engine and name: what was read, and what pages show of it.
    Seen = dict[tuple[str, str], tuple[T, dict[str, Any]]]
    Topics = Seen[TopicInfo]
    Schedules = Seen[ScheduleRecord]

INTERVAL_S = 1.0
SHARE = 0.04
"""How much of a core the open pages may take: where they are many, or topics are, snapshots are taken less often."""

SEND_S = 100e-6
"""About how long it takes to send a message to a page."""

TURNS, TURN_S = 100, 0.005
"""Pages take turns to be sent a message, so that deliveries are not held up until all have it."""

HEARTBEAT_S = 15.0
"""A message is sent at least this often, so that a connection that has broken is noticed."""

READ_AT_ONCE = 100
STATES = [(state, str(state)) for state in EventState]
ROUND_US = 100_000
"""Times are rounded to this, so that a clock that is estimated does not change them."""


@dataclass(frozen=True, slots=True)
class Message:
    """What has changed.

    Attributes:
        content: ``now`` in seconds, ``engines``, the ``topics`` and ``schedules`` that are new or differ, and which are
            ``removed``: engine and topic, and for a schedule its name too.
        encoded: the content as a server-sent event.
    """

    content: dict[str, Any]
    encoded: bytes

    @property
    def brings_something(self) -> bool:
        """Whether a topic or a schedule has changed."""
        return any(self.content[name] for name in ("topics", "schedules", "removed"))


class Live:
    """Takes snapshots while a page is open, and none otherwise."""

    def __init__(self, engines: Engines) -> None:
        self._engines = engines
        self._pages = 0
        self._taking: asyncio.Task[None] | None = None
        self._opening = asyncio.Lock()
        self._topics: Topics = {}
        self._schedules: Schedules = {}
        # Grows with each message.
        self._number = 0
        self._latest = message_of([])
        self._whole: Message | None = None
        self._sent = asyncio.Event()

    async def messages(self) -> AsyncIterator[Message]:
        """First all that there is, then what changes, at most once a second. Whoever is too slow gets all again."""
        turn_s = self._pages % TURNS * TURN_S
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
                await asyncio.sleep(turn_s)
        finally:
            self._pages -= 1
            if not self._pages and self._taking is not None:
                self._taking.cancel()
                self._taking = None

    def _all(self) -> Message:
        if self._whole is None:
            topics = [shown for _, shown in self._topics.values()]
            schedules = [shown for _, shown in self._schedules.values()]
            self._whole = message_of(self._latest.content["engines"], topics, schedules, is_first=True)
        return self._whole

    def _send(self, message: Message) -> None:
        self._number += 1
        self._latest, self._whole = message, None
        sent, self._sent = self._sent, asyncio.Event()
        sent.set()

    async def _keep_taking(self) -> None:
        took_s, quiet_s = 0.0, 0.0
        while True:
            pause_s = max(INTERVAL_S, (took_s + self._pages * SEND_S) / SHARE)
            await self._pause(pause_s)
            began_s = time.process_time()
            before, message = self._latest, await self._take()
            took_s = time.process_time() - began_s
            quiet_s += pause_s
            has_changed = message.content["engines"] != before.content["engines"] or message.brings_something
            if has_changed or quiet_s >= HEARTBEAT_S:
                quiet_s = 0.0
                self._send(message)

    async def _pause(self, seconds: float) -> None:
        """Wait; where that is long, with heartbeats."""
        while seconds > HEARTBEAT_S:
            await asyncio.sleep(HEARTBEAT_S)
            seconds -= HEARTBEAT_S
            self._send(message_of(self._latest.content["engines"]))
        await asyncio.sleep(seconds)

    async def _take(self) -> Message:
        topics_before, schedules_before = self._topics, self._schedules
        engines: list[dict[str, Any]] = []
        topics: Topics = {}
        schedules: Schedules = {}
        for running in self._engines:
            name, problem = running.engine.name, running.not_serving() or ""
            try:
                topics.update(await _read_topics(running.engine, topics_before))
                schedules.update(await _read_schedules(running.engine, schedules_before))
            except Exception as error:  # noqa: BLE001  # it can't be asked: what was last seen stays
                problem = problem or _problem(error)
                topics.update(_of_engine(topics_before, name))
                schedules.update(_of_engine(schedules_before, name))
            engines.append({"engine": name, "status": str(running.status), "problem": problem})
        self._topics, self._schedules = topics, schedules
        return message_of(
            engines,
            _changed(topics_before, topics),
            _changed(schedules_before, schedules),
            [[engine, name] for engine, name in topics_before.keys() - topics.keys()]
            + [[key[0], schedules_before[key][0].topic, key[1]] for key in schedules_before.keys() - schedules.keys()],
        )


def _problem(error: Exception) -> str:
    """Why an engine can't be asked, as callers are told."""
    return str(error) if isinstance(error, DueBusError) else unexpected(error, "/events")[1]


async def _read_topics(engine: Engine, before: Topics) -> Topics:
    """The topics of an engine. What is shown of one that has not changed is kept."""
    found: Topics = {}
    after = ""
    while topics := await engine.list_topics(after, READ_AT_ONCE):
        now_us = engine.now_us()
        for info in topics:
            key = (engine.name, info.topic)
            seen = before.get(key)
            is_same = seen is not None and (seen[0] is info or seen[0] == info)
            found[key] = seen if seen is not None and is_same else (info, _topic(engine.name, info, now_us))
        after = topics[-1].topic
        await asyncio.sleep(0)
    return found


async def _read_schedules(engine: Engine, before: Schedules) -> Schedules:
    """The schedules of an engine. What is shown of one that has the same version is kept."""
    found: Schedules = {}
    after = ""
    while records := await engine.list_schedules(after, READ_AT_ONCE):
        for record in records:
            key = (engine.name, record.name)
            seen = before.get(key)
            is_same = seen is not None and seen[0].version == record.version
            found[key] = seen if seen is not None and is_same else (record, _schedule(engine.name, record))
        after = records[-1].name
        if not fills_answer(records, READ_AT_ONCE):
            break
        await asyncio.sleep(0)
    return found


def _of_engine(seen: Seen[T], engine: str) -> Seen[T]:
    return {key: each for key, each in seen.items() if key[0] == engine}


def _changed(before: Seen[Any], now: Seen[Any]) -> list[dict[str, Any]]:
    """What is shown that is new or differs."""
    found = []
    for key, each in now.items():
        seen = before.get(key)
        if seen is not each and (seen is None or seen[1] != each[1]):
            found.append(each[1])
    return found


def _topic(engine: str, info: TopicInfo, now_us: int) -> dict[str, Any]:
    lateness = [group.lateness for group in info.groups]
    return {
        "engine": engine,
        "topic": info.topic,
        "problem": info.problem,
        "durable": info.durable,
        "queued": info.queued,
        "maxQueued": info.config.max_queued,
        "lateness": _lateness(sum_of_lateness(lateness)),
        "groups": [_group(group, late, now_us) for group, late in zip(info.groups, lateness, strict=True)],
    }


def _group(info: GroupInfo, lateness: Lateness, now_us: int) -> dict[str, Any]:
    rates = info.rates
    return {
        "group": info.group,
        "paused": info.paused,
        "ephemeral": info.ephemeral,
        **{name: info.counts[state] for state, name in STATES},
        "subscribers": len(info.subscribers),
        "readySince": _since(info.oldest_ready_age_us, now_us),
        "blockedSince": _since(info.oldest_blocked_age_us, now_us),
        "lateness": _lateness(lateness),
        "rates": [round(rate, 2) for rate in (rates.dispatched, rates.delivered, rates.acked, rates.nacked)],
    }


def _lateness(lateness: Lateness) -> list[float] | None:
    """Its median and its 99th percentile, in seconds."""
    return [lateness.quantile_us(share) / SECOND for share in (0.5, 0.99)] if lateness else None


def _since(age_us: int | None, now_us: int) -> float | None:
    """When it began, in seconds, which stays the same while an age grows."""
    return None if age_us is None else (now_us - age_us) // ROUND_US * ROUND_US / 1_000_000


def _schedule(engine: str, record: ScheduleRecord) -> dict[str, Any]:
    """A schedule as ListSchedules has it, without its event."""
    info = schedule_info(record, with_data=False)
    info.schedule.ClearField("event")
    return {"engine": engine, "info": MessageToDict(info)}


def message_of(
    engines: list[dict[str, Any]],
    topics: Sequence[dict[str, Any]] = (),
    schedules: Sequence[dict[str, Any]] = (),
    removed: Sequence[list[str]] = (),
    *,
    is_first: bool = False,
) -> Message:
    """A message of what has changed."""
    content = {
        "now": time.time(),
        "first": is_first,
        "engines": engines,
        "topics": topics,
        "schedules": schedules,
        "removed": removed,
    }
    return Message(content, encoded(content))


def encoded(content: dict[str, Any]) -> bytes:
    """The content of a message as a server-sent event."""
    return f"data: {json.dumps(content)}\n\n".encode()
