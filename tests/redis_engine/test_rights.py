"""The rights of the Redis user: the documented ones suffice for every verb, and a missing one is named."""

from __future__ import annotations

import re
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import pytest
import redis
from duebus_server.domain.clock import HOUR, SECOND
from duebus_server.domain.errors import UnusableStorage
from duebus_server.domain.model import DEFAULT_GROUP
from duebus_server.domain.rates import KeyPolicy, Limits, Rate
from duebus_server.domain.schedules import Firing, FiringOutcome, ScheduleRecord
from duebus_server.domain.states import EventState
from duebus_server.domain.transfer import HeldCopy, HeldEvent
from duebus_server.engine.redis import Credentials
from duebus_server.engine.redis.partition import Partition
from duebus_server.engine.redis.transport.scripts import Script
from support.builders import new_event, new_events
from support.documents import ROOT
from support.redis_bus import RedisBus, Replica, redis_bus
from support.redis_cluster import until_it_is_whole
from support.scripts import SCRIPTS
from support.topics import WORKER

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

    from support.redis_server import RedisServer

USER = "duebus"


def documented(place: str) -> str:
    """The rules that docs/redis.md gives for a user of a Redis of this kind."""
    page = (ROOT / "docs/redis.md").read_text()
    found = re.search(rf"^- {place}: `(.+)`$", page, re.MULTILINE)
    assert found is not None, place
    return found[1]


@contextmanager
def user_on(nodes: list[RedisServer], namespace: str, rules: str) -> Iterator[list[Any]]:
    """A user with these rules on every node during the block; yields clients of the nodes. ACL LOG is empty."""
    with ExitStack() as opened:
        clients: list[Any] = [opened.enter_context(redis.Redis.from_url(node.url)) for node in nodes]
        for client in clients:
            own = rules.replace("duebus", namespace).split()
            client.execute_command("ACL SETUSER", USER, "reset", "on", ">secret", *own)
            client.acl_log_reset()
        yield clients
        for client in clients:
            client.acl_deluser(USER)


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """The names of the scripts that have run."""
    names = set()
    run = Script.run

    async def note(self: Script, *arguments: Any) -> Any:
        names.add(self.name)
        return await run(self, *arguments)

    monkeypatch.setattr(Script, "run", note)
    return names


async def use_keys(here: Replica) -> None:
    """What a server does with events in order by key."""
    topic = here.topic()
    await topic.join()
    await topic.dispatch(*(new_event(key="k", priority=1) for _ in range(4)), new_event("last", key="k", delay_us=HOUR))
    (held,) = await topic.lease_all()
    assert await topic.ack(held) == [None]
    await topic.page(EventState.BLOCKED, 10, key="k")
    (info,) = (await topic.keys()).keys
    assert info.blocked == 2
    await topic.reschedule(info.head_event_id, delay_us=HOUR)
    await topic.cancel("last")
    await topic.delete()


async def use_schedules(here: Replica) -> None:
    """What a server does with schedules."""
    engine, topic = here.engine, here.topic().name
    now_us = engine.wall_us()
    assert await engine.save_schedule(ScheduleRecord("schedule", topic, "", b"rule", 0, False, now_us, now_us), 0, 10)
    (record,) = (await engine.due_schedules(10)).records
    firing = Firing(record, now_us, new_event("fired"), next_us=now_us + HOUR, due_us=now_us + HOUR)
    assert await engine.fire_schedules([firing]) == [FiringOutcome.FIRED]
    await engine.list_schedules("", 10)
    await engine.delete_schedule("schedule")
    await engine.delete_topic(topic)


async def use_limits(here: Replica) -> None:
    """What a server does with limits, key policies and pauses."""
    topic = here.topic()
    await topic.join()
    await topic.configure(limits=Limits(10, Rate(1_000, SECOND)), keys=KeyPolicy(2, Rate(1_000, SECOND)))
    await topic.dispatch(*(new_event(key="k") for _ in range(4)))
    held, *_ = await topic.lease_all()
    assert await topic.pause_key(held, for_us=HOUR) == [None]
    await topic.keys()
    await topic.delete()
    await topic.configure(partitions=2)
    await topic.join()
    await topic.dispatch("event")
    assert await topic.pause_for(*await topic.lease_all(), for_us=HOUR) == [None]
    await topic.delete()


async def use_every_verb(here: Replica, there: Replica) -> None:
    """Everything that a server does in Redis."""
    topic = here.topic()
    await topic.dispatch(*new_events(5), "chosen", request_id="request")
    await topic.join()
    await topic.join("session", "other")
    await topic.join("looks", "ephemeral", ephemeral_us=1)
    held = await topic.lease(max_events=6)
    assert await topic.extend(held[0]) == [None]
    await topic.ack_and_lease(held[0])
    assert await topic.nack(held[1], delay_us=0) == [None]
    await topic.dead_letter(*held[2:4])
    taker = there.topic(topic.name)
    await taker.join("another")
    await taker.adopt("another", held[4])
    await topic.shorten(0)
    await topic.leave()
    await topic.leave("looks", "ephemeral")
    for replica in (here, there):
        await replica.engine.expire_leases()
    await topic.configure(dead_letter_retention_us=HOUR)
    await topic.configure_group(max_retries=1)
    await here.engine.expire_leases()
    await topic.group_info("chosen")
    await topic.page(EventState.READY, 10)
    await topic.engine.list_topics("", 10)
    await topic.engine.backlog(topic.name, "default")
    await topic.engine.work([(topic.name, "default")])
    assert await topic.engine.queued() > 0
    await topic.reschedule("chosen", delay_us=HOUR)
    assert (await topic.redrive()).moved == 2
    await topic.dispatch("event of both")
    await topic.dead_letter(*await topic.lease("session", "other"), group="other")
    assert (await topic.purge(group="other")).moved == 1
    await topic.cancel("chosen")
    moved = [HeldCopy(group, EventState.READY, 0) for group in ("default", "other")]
    assert await here.engine.import_events(topic.name, [HeldEvent(topic.name, "moved", b"", 0, "", None, moved)]) == 1
    await use_keys(here)
    await use_schedules(here)
    await use_limits(here)
    await topic.pause()
    await topic.resume()
    await topic.delete_group("other")
    await topic.delete()
    for partitions in (2, 3):
        await topic.configure(partitions=partitions)
    await topic.delete()
    await lose_an_answer(here)


async def lose_an_answer(here: Replica) -> None:
    """A sweep finds a lease that was not reported to the session, and the session's next call takes it back."""
    topic = here.topic()
    await topic.join()
    await topic.dispatch("known", "unknown")
    known, unknown = await topic.lease()
    members = here.engine._engine.members
    members.take_back(Partition(topic.name), DEFAULT_GROUP, WORKER, unknown.fencing_token)
    await here.engine.expire_leases()
    assert await topic.ack(known, await topic.lease_one()) == [None, None]


async def assert_enough(bus: RedisBus, clients: list[Any], ran: set[str]) -> None:
    bus.make_options["credentials"] = Credentials(USER, "secret")
    here = await bus.replica()
    await use_every_verb(here, await bus.replica())
    await here.engine.check()
    await here.engine.stop()
    assert [client.acl_log() for client in clients] == [[]] * len(clients), "nothing was refused"
    assert "dispatch" in ran


async def test_the_documented_rules_are_enough_for_one_server(
    start_redis: Callable[..., RedisServer], ran: set[str]
) -> None:
    server = start_redis()
    async with redis_bus(server.url) as bus:
        with user_on([server], bus.namespace, documented("one server")) as clients:
            await assert_enough(bus, clients, ran)
    assert ran == SCRIPTS


async def test_the_documented_rules_are_enough_for_a_cluster(
    cluster_bus: RedisBus, cluster: list[RedisServer], ran: set[str]
) -> None:
    with user_on(cluster, cluster_bus.namespace, documented("a cluster")) as clients:
        await assert_enough(cluster_bus, clients, ran)


# --- a right that is missing ---


@pytest.fixture
async def restricted(start_redis: Callable[..., RedisServer]) -> AsyncIterator[RedisBus]:
    """A bus as a user who may do everything."""
    server = start_redis()
    async with redis_bus(server.url) as bus:
        with user_on([server], bus.namespace, "~* &* +@all"):
            bus.make_options["credentials"] = Credentials(USER, "secret")
            yield bus


async def refusal(bus: RedisBus, rule: str, call: Callable[[], Awaitable[object]]) -> str:
    """The error of a call when the user has lost a right."""
    bus.raw.execute_command("ACL SETUSER", USER, *rule.split())
    with pytest.raises(UnusableStorage) as caught:
        await call()
    bus.raw.execute_command("ACL SETUSER", USER, "~*", "&*", "+@all")
    return str(caught.value)


@pytest.mark.parametrize(
    ("rule", "named"),
    [
        ("-zadd", "may not run the command 'zadd'"),
        ("-hset", "may not run the command 'hset' or 'zadd'"),
        ("-hmget", "may not run the command 'hmget'"),
        ("-evalsha -eval", "may not run the command 'evalsha'"),
        ("resetkeys", "needs ~NAMESPACE:*"),
    ],
)
async def test_a_right_that_a_script_lacks_is_named(restricted: RedisBus, rule: str, named: str) -> None:
    topic = (await restricted.replica()).topic()
    await topic.join()
    assert await refusal(restricted, rule, lambda: topic.dispatch("event")) == f"engine redis: the Redis user {named}"
    await topic.dispatch("event")


@pytest.mark.parametrize(
    ("rule", "named"),
    [
        ("-info", "may not run the command 'info'"),
        ("resetchannels", "needs &NAMESPACE:*"),
        ("-subscribe", "may not run the command 'subscribe'"),
        ("resetkeys", "needs ~NAMESPACE:*"),
    ],
)
async def test_a_right_that_the_start_lacks_is_named(restricted: RedisBus, rule: str, named: str) -> None:
    assert await refusal(restricted, rule, restricted.replica) == f"engine redis: the Redis user {named}"


async def test_a_right_that_is_missing_in_a_cluster_is_named(cluster_bus: RedisBus, cluster: list[RedisServer]) -> None:
    await until_it_is_whole(cluster)
    cluster_bus.make_options["credentials"] = Credentials(USER, "secret")
    for rules, named in (
        ("~* &* +@all -cluster", "may not run the command 'cluster|slots'"),
        ("~* &* +@all -command", "may not run the command 'command'"),
    ):
        with user_on(cluster, cluster_bus.namespace, rules), pytest.raises(UnusableStorage) as caught:
            await cluster_bus.replica()
        assert str(caught.value) == f"engine redis: the Redis user {named}"
