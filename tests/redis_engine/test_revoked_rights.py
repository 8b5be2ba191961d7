"""Redis refuses a command in the middle of a script: no answered event is lost, and none is stored in part."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
import redis
from duebus_server.domain.clock import HOUR
from duebus_server.domain.errors import DispatcherNotWorking
from duebus_server.domain.model import DispatchRequest, LeaseRequest, Refill, Reservation
from duebus_server.domain.rates import Limits
from duebus_server.engine.redis import Credentials
from support.builders import new_event, new_events
from support.redis_bus import RedisBus, Replica, redis_bus
from support.redis_server import RedisServer
from support.scripts import SOURCES
from support.topics import PLENTY, WORKER, ref

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

    from duebus_server.domain.model import LeasedEvent
    from support.topics import TopicDriver

    Verb = Callable[[TopicDriver], Awaitable[object]]

COMMANDS = sorted(
    {
        name.lower()
        for source in SOURCES.values()
        for name in re.findall(r"(?:redis\.p?call|(?:read|write)_all)\('([A-Z]+)'", source)
    }
)
"""The commands of the scripts."""

GROUPS = ("one", "other")


async def adopt(topic: TopicDriver) -> None:
    """A session takes over the leases of another."""
    held = await topic.lease(group="one")
    await topic.join("another session", "one")
    await topic.adopt("another session", *held, group="one")


async def hand_over(topic: TopicDriver) -> None:
    """A dispatch while a session of one group has leased everything, and has room."""
    await topic.lease(group="one")
    events = [new_event("new"), new_event("newer")]
    await topic.engine.dispatch(
        topic.name, [DispatchRequest(events, "request")], [Reservation("one", WORKER, LeaseRequest(1, PLENTY))]
    )


VERBS: dict[str, Verb] = {
    "dispatch": lambda topic: topic.dispatch("new", new_event("newer"), request_id="request"),
    "hand over": hand_over,
    "join": lambda topic: topic.join("another session", "one"),
    "lease": lambda topic: topic.lease(group="one"),
    "adopt": adopt,
    "shorten": lambda topic: topic.shorten(0, group="one"),
    "leave": lambda topic: topic.leave(group="one"),
    "expire": lambda topic: topic.engine.expire_leases(),
    "redrive": lambda topic: topic.redrive(group="one"),
    "reschedule": lambda topic: topic.reschedule("a9", delay_us=HOUR),
}
"""Verbs after which every event must still be in each group."""

ENDING: dict[str, Verb] = {
    "cancel": lambda topic: topic.cancel("a0", "a1"),
    "purge": lambda topic: topic.purge(group="one"),
    "delete_group": lambda topic: topic.delete_group("one"),
}
"""Verbs that end events in the first group."""


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    """A Redis with a user for the bus."""
    running = RedisServer()
    with redis.Redis.from_url(running.url) as client:
        client.execute_command("ACL SETUSER", "bus", "on", ">secret", "~*", "&*", "+@all")
    yield running
    running.close()


@pytest.fixture
async def restricted(server: RedisServer) -> AsyncIterator[RedisBus]:
    """A bus with a frozen clock, whose replicas are that user."""
    async with redis_bus(server.url, frozen=True) as bus:
        bus.make_options["credentials"] = Credentials("bus", "secret")
        yield bus


async def ten_events(replica: Replica) -> TopicDriver:
    """Ten events in two groups: of the first one, two are leased, and two are dead."""
    topic = replica.topic()
    for group in GROUPS:
        await topic.join(group=group)
    await topic.dispatch(*(new_event(f"a{number}") for number in range(10)))
    held = await topic.lease(group="one", max_events=4)
    await topic.dead_letter(*held[:2], group="one")
    return topic


async def try_without(bus: RedisBus, command: str, verb: Awaitable[object]) -> bool:
    """Whether a call succeeds without the right to a command."""
    bus.raw.execute_command("ACL SETUSER", "bus", f"-{command}")
    try:
        await verb
    except DispatcherNotWorking:
        return False
    else:
        return True
    finally:
        bus.raw.execute_command("ACL SETUSER", "bus", f"+{command}")


async def found(replica: Replica, topic: TopicDriver, group: str) -> set[str]:
    """The events that can still be leased from a group."""
    await topic.join(group=group)
    await replica.advance(2 * HOUR)
    await topic.redrive(group=group)
    return {event.event_id for event in await topic.lease_all(group=group)}


@pytest.mark.parametrize("command", COMMANDS)
async def test_no_event_is_lost_when_a_right_is_missing(restricted: RedisBus, command: str) -> None:
    replica = await restricted.replica()
    for name, verb in VERBS.items():
        topic = await ten_events(replica)
        answered = {f"a{number}" for number in range(10)}
        if name == "expire":
            await replica.advance(HOUR)
        if await try_without(restricted, command, verb(topic)) and name in ("dispatch", "hand over"):
            answered |= {"new", "newer"}
        stored = {key.decode() for key in restricted.raw.hkeys(restricted.key(topic.name, "events"))}
        for group in GROUPS:
            there = await found(replica, topic, group)
            assert there >= answered, (name, group)
            assert there >= stored, f"{name} without {command} has stored in part"


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("how", ["ack", "ack and lease", "nack", *ENDING])
async def test_events_that_could_not_be_ended_are_still_there(restricted: RedisBus, command: str, how: str) -> None:
    replica = await restricted.replica()
    topic = await ten_events(replica)
    held = await topic.lease(group="one", max_events=6 if how != "ack and lease" else 2)
    ended = {"cancel": {"a0", "a1"}, "delete_group": {f"a{number}" for number in range(10)}, "purge": {"a0", "a1"}}
    if how == "ack":
        ended[how] = {event.event_id for event in held}
        verb: Awaitable[object] = topic.ack(*held, group="one")
    elif how == "ack and lease":
        ended[how] = {event.event_id for event in held}
        refill = Refill(WORKER, {event.fencing_token: 0 for event in held}, PLENTY)
        verb = topic.engine.ack(topic.name, "one", [ref(event) for event in held], refill)
    elif how == "nack":
        verb = topic.nack(*held, delay_us=0, group="one")
    else:
        verb = ENDING[how](topic)
    await try_without(restricted, command, verb)
    everything = {f"a{number}" for number in range(10)}
    other = everything if how != "cancel" else everything - {"a0", "a1"}
    assert await found(replica, topic, "other") >= other, "another group keeps its copies"
    assert await found(replica, topic, "one") >= everything - ended.get(how, set())


@pytest.mark.parametrize("command", COMMANDS)
async def test_events_that_wait_for_a_first_group_are_delivered_in_the_end(restricted: RedisBus, command: str) -> None:
    replica = await restricted.replica()
    topic = replica.topic()
    answer = await topic.dispatch(*new_events(5))
    await try_without(restricted, command, topic.join(group="one"))
    assert await found(replica, topic, "one") == set(answer.event_ids)


@pytest.mark.parametrize("command", COMMANDS)
async def test_limits_and_priorities_hold_when_a_right_is_missing(restricted: RedisBus, command: str) -> None:
    replica = await restricted.replica()
    limited, ranked = replica.topic(), replica.topic()
    await limited.join()
    await limited.configure(limits=Limits(1))
    await limited.dispatch("leased", "over the limit")
    await limited.lease_one()
    await ranked.join()
    await ranked.dispatch("behind", new_event("in front", priority=10))
    found: list[LeasedEvent] = []

    async def lease(topic: TopicDriver) -> None:
        found.extend(await topic.lease(max_events=1))

    for topic in (limited, ranked):
        await try_without(restricted, command, lease(topic))
    assert {event.event_id for event in found} <= {"in front"}
