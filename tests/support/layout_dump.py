"""Dumps what the redis engine stores, one JSON object for each key. A dump of each released layout is kept.

``PYTHONPATH=tests .venv/bin/python -m support.layout_dump`` writes the dump of this build. Names and times are the
same in every dump. Random values (the secret, the names of the replica and of a deletion) are left out or replaced.
"""

from __future__ import annotations

import asyncio
import json
import sys
from base64 import b64decode, b64encode
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from duebus_server.domain.actions import Action
from duebus_server.domain.clock import HOUR
from duebus_server.domain.schedules import ScheduleRecord
from duebus_server.engine.redis.replicas.layouts import LAYOUT

from support.builders import new_event
from support.redis_bus import RedisBus
from support.redis_server import RedisServer

if TYPE_CHECKING:
    from duebus_server.domain.model import NewEvent

    from support.redis_bus import Replica

FOLDER = Path(__file__).parents[1] / "redis_engine" / "layouts"
NAMESPACE = "dumped"
REPLICA = "00000000"
"""Replaces the name of the replica, with the same length."""

PLAIN, SPREAD = "plain", "spread"
"""The topics: one with one partition, one with two."""

GROUPS = ("one", "other")
EPHEMERAL = "looks"
UNCLAIMED = "unclaimed"
"""A topic that has no group yet."""


def event(event_id: str, **fields: Any) -> NewEvent:
    """An event with the same body in every dump."""
    return replace(new_event(event_id, body=b"\x12\x04data"), **fields)


async def put_schedule(replica: Replica, topic: str, name: str) -> None:
    """A schedule with all fields."""
    at_us = replica.engine.wall_us() + HOUR
    last = (at_us - HOUR, ("one event", "the next"))
    record = ScheduleRecord(name, topic, "a key", b"a rule", 0, False, at_us, at_us, 3, 2, 1, *last)
    assert await replica.engine.save_schedule(record, 0, 1_000)


async def fill(replica: Replica) -> None:
    """Store data of every kind."""
    spread = replica.topic(SPREAD)
    await spread.configure(partitions=2)
    await spread.join(group="one", consumer="a worker")
    await spread.dispatch(*(event(f"chosen {number}") for number in range(4)), request_id="a request")
    await replica.topic(UNCLAIMED).dispatch(event("waits for a group"))
    topic = replica.topic(PLAIN)
    await topic.configure(max_retries=5, dead_letter_retention_us=HOUR)
    for group in GROUPS:
        await topic.join(group=group, consumer="a worker")
    await topic.join(group=EPHEMERAL, consumer="a worker", ephemeral_us=HOUR)
    await topic.configure_group("other", max_retries=1)
    names = ("acked", "dead", "leased", "nacked", "ready")
    made = event("0190c2a0-7b7e-7000-8000-0123456789ab", id_is_generated=True)
    rare = (event("retried seven times", max_retries=7), event("scheduled", delay_us=HOUR))
    keyed = [event(f"of a key {number}", key="a key") for number in range(2)]
    upcoming = event("of a key, later", key="a key", delay_us=HOUR)
    ranked = [event("patient", priority=-60), event("urgent, later", priority=60, delay_us=HOUR)]
    origin = "ipv4:127.0.0.1:50000"
    await topic.dispatch(
        *map(event, names), made, *rare, *keyed, upcoming, *ranked, request_id="a request", origin=origin
    )
    held = {event.event_id: event for event in await topic.lease(group="one", max_events=4)}
    await topic.ack(held["acked"], group="one")
    await topic.dead_letter(held["dead"], group="one")
    await topic.nack(held["nacked"], delay_us=HOUR, error="a reason", group="one")
    await topic.leave(group=EPHEMERAL)
    await put_schedule(replica, PLAIN, "nightly")
    await put_schedule(replica, SPREAD, "hourly")
    await topic.pause("other")
    await replica.engine.keep_action(Action(7, "ops", "ipv4:127.0.0.1:1", "PauseGroup", PLAIN, "other", "", "OK"))
    for name in (SPREAD, UNCLAIMED, PLAIN):
        await replica.engine.minutes(name)  # which saves them


def dump(bus: RedisBus, replica: str) -> list[dict[str, Any]]:
    """All keys of a bus except its secret and what replicas say about themselves, with ``replica`` replaced."""

    def text(value: Any) -> Any:
        if isinstance(value, bytes):
            return b64encode(value.replace(replica.encode(), REPLICA.encode())).decode()
        return value

    found = []
    left_out = {"secret", f"{{{bus.namespace}:layout}}:about"}  # which tells the host and the process
    for key in sorted(bus.stored_keys() - left_out):
        name = f"{bus.namespace}:{key}"
        kind = bus.raw.type(name).decode()
        value = bus._value(name)
        members: Any = (
            sorted([text(field), text(one)] for field, one in value.items())
            if kind == "hash"
            else [[text(member), score] for member, score in value]
            if kind == "zset"
            else sorted(map(text, value))
            if kind == "set"
            else list(map(text, value))
            if kind == "list"
            else text(value)
        )
        found.append({"key": key.replace(replica, REPLICA), "type": kind, "value": members})
    return found


def load(bus: RedisBus, lines: list[dict[str, Any]]) -> None:
    """Put a dump into an empty Redis."""
    for line in lines:
        name, value = f"{bus.namespace}:{line['key']}", line["value"]
        if line["type"] == "hash":
            bus.raw.hset(name, mapping={b64decode(field): b64decode(one) for field, one in value})
        elif line["type"] == "zset":
            bus.raw.zadd(name, {b64decode(member): score for member, score in value})
        elif line["type"] == "set":
            bus.raw.sadd(name, *map(b64decode, value))
        elif line["type"] == "list":
            bus.raw.rpush(name, *map(b64decode, value))
        else:
            bus.raw.set(name, b64decode(value))


async def dump_of_this_build(url: str) -> list[dict[str, Any]]:
    bus = RedisBus(url, frozen=True)
    bus.namespace = NAMESPACE
    replica = await bus.replica()
    await fill(replica)
    lines = dump(bus, replica.name)
    await bus.close()
    return lines


def read(layout: int) -> list[dict[str, Any]]:
    """The dump of a layout."""
    return [json.loads(line) for line in (FOLDER / f"{layout}.jsonl").read_text().splitlines()]


def main() -> None:
    """Write the dump of this build."""
    server = RedisServer()
    try:
        lines = asyncio.run(dump_of_this_build(server.url))
    finally:
        server.close()
    path = FOLDER / f"{LAYOUT}.jsonl"
    path.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    sys.stdout.write(f"wrote {path}\n")


if __name__ == "__main__":
    main()
