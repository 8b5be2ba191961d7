"""Redis becomes unreachable, loses its scripts or all its data; answers are lost."""

from __future__ import annotations

import asyncio
import signal
import time
from typing import TYPE_CHECKING
from unittest.mock import Mock

import grpc
import pytest
from duebus_server.domain.clock import HOUR, SECOND
from duebus_server.domain.errors import DispatcherNotWorking
from duebus_server.domain.states import EventState
from duebus_server.engine.redis.replicas import presence
from duebus_server.engine.redis.transport import runner
from duebus_server.engine.redis.transport.clients import ANSWER_TIMEOUT_S
from duebus_server.engine.redis.transport.connection import MAX_CONNECTIONS
from structlog.testing import capture_logs
from support.builders import unique_name
from support.redis_bus import RedisBus, lost_answers, redis_bus, until
from support.topics import ids
from support.wire import connect, failure_of, figure
from support.wire import ids as delivered

if TYPE_CHECKING:
    from collections.abc import Callable

    from support.redis_bus import Replica
    from support.redis_server import RedisServer
    from support.server_process import ServerProcess
    from support.topics import TopicDriver

DURABLE = ("--appendonly", "yes", "--appendfsync", "always")


@pytest.fixture
def durable(start_redis: Callable[..., RedisServer]) -> RedisServer:
    """A Redis that loses nothing in a crash."""
    return start_redis(*DURABLE)


async def kill(server: RedisServer) -> None:
    await asyncio.to_thread(server.kill)


async def restart(server: RedisServer) -> None:
    await asyncio.to_thread(server.restart)


async def test_calls_fail_fast_streams_stay_open_and_everything_recovers(
    durable: RedisServer, start_server: Callable[..., ServerProcess]
) -> None:
    server = start_server("--engine", "redis", "--redis-url", durable.url)
    topic = unique_name()
    async with connect(server.address) as wire:
        stream = await wire.subscribe(topic, max_in_flight=10)
        idle = await wire.subscribe(unique_name())
        await wire.dispatch(topic, "held")
        held = await stream.one()

        await kill(durable)
        calls = {
            "Dispatch": lambda: wire.dispatch(topic, "refused"),
            "Ack": lambda: wire.ack(held),
            "Nack": lambda: wire.nack(held),
            "Extend": lambda: wire.extend(held),
            "Subscribe": lambda: wire.subscribe(topic),
            "GetTopic": lambda: wire.topic(topic),
            "ListTopics": wire.topic_names,
        }
        for name, call in calls.items():
            began = time.monotonic()
            failure = await failure_of(call())
            took_s = time.monotonic() - began
            assert (failure.code, failure.reason) == (grpc.StatusCode.UNAVAILABLE, "DISPATCHER_NOT_WORKING"), name
            assert failure.message == "engine redis: Redis can't be reached"
            assert failure.retry_after_us == SECOND, name
            assert took_s < ANSWER_TIMEOUT_S, name

        await restart(durable)
        began = time.monotonic()
        assert await wire.ack(held) == [], "the first call after the outage works, and the lease was kept"
        await wire.dispatch(topic, "after")
        assert delivered([await stream.one()]) == ["after"]
        figure(f"a stream delivered {time.monotonic() - began:.3f} s after Redis was back")
        assert stream.frames[-1].WhichOneof("frame") == "deliveries"
        assert not idle.call.done()


async def test_a_server_can_end_while_redis_is_unreachable(
    durable: RedisServer, start_server: Callable[..., ServerProcess]
) -> None:
    server = start_server("--engine", "redis", "--redis-url", durable.url, "--drain-timeout", "1s")
    topic = unique_name()
    async with connect(server.address) as wire:
        stream = await wire.subscribe(topic)
        await wire.dispatch(topic, "held")
        await stream.one()
        await kill(durable)
        assert await asyncio.to_thread(server.terminate) == 0


async def test_accepted_events_survive_a_kill_and_restart(durable: RedisServer) -> None:
    async with redis_bus(durable.url) as bus:
        topic = (await bus.replica()).topic()
        await topic.join()
        names = [f"e{number:03}" for number in range(200)]
        for at in range(0, 200, 10):
            await topic.dispatch(*names[at : at + 10])
        held = await topic.lease(max_events=50)
        await topic.ack(*held[:20])
        await kill(durable)
        await restart(durable)
        assert await topic.counts() == {EventState.READY: 150, EventState.LEASED: 30}
        assert await topic.ack(*held[20:]) == [None] * 30
        assert ids(await topic.lease(max_events=500)) == names[50:]


async def test_scripts_are_flushed_under_load(bus: RedisBus) -> None:
    topic = (await bus.replica()).topic()
    await topic.join()
    flushing = True

    async def flush() -> None:
        while flushing:
            bus.raw.script_flush()
            await asyncio.sleep(0)

    flusher = asyncio.create_task(flush())
    for number in range(100):
        await topic.dispatch(f"e{number}")
        (event,) = await topic.lease()
        assert await topic.extend(event) == [None]
        assert await topic.ack(event) == [None]
    flushing = False
    await flusher
    assert await topic.counts() == {}


async def test_a_redis_that_lost_everything_is_registered_with_again(bus: RedisBus, topic: TopicDriver) -> None:
    other = await bus.replica()
    await topic.join()
    await topic.dispatch("lost")
    secret = topic.engine.lease_token_key
    for key in bus.raw.scan_iter(f"{bus.namespace}:*"):
        bus.raw.delete(key)
    noted = f"replica:{topic.engine._engine._runner.replica}:groups"  # type: ignore[attr-defined]
    await until(lambda: {noted, "secret"} <= bus.stored_keys(), "the replica to say again what it has")
    assert bus.raw.get(f"{bus.namespace}:secret") == b"duebus:" + secret
    assert secret == other.engine.lease_token_key
    assert await topic.lease() == [], "subscribes again"
    await topic.dispatch("new")
    assert ids(await topic.lease()) == ["new"]
    assert [info.topic for info in await other.engine.list_topics("", 10)] == [topic.name]


async def test_after_an_outage_no_replica_considers_another_dead(
    durable: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(presence, "LAPSE_US", SECOND // 2)
    monkeypatch.setattr(presence, "BEAT_US", SECOND // 10)
    async with redis_bus(durable.url) as bus:
        replicas = [await bus.replica() for _ in range(3)]
        topics = [replica.topic() for replica in replicas]
        held = []
        for topic in topics:
            await topic.join()
            await topic.dispatch("event")
            held.append(await topic.lease_one())
        await asyncio.sleep(0.7)  # until all of them may declare others dead
        await kill(durable)
        await asyncio.sleep(0.8)  # longer than the lapse
        await restart(durable)
        await asyncio.sleep(1.0)  # long enough to declare others dead again
        for topic, event in zip(topics, held, strict=True):
            assert await topic.extend(event) == [None], "no replica has ended it"
            assert len((await topic.group()).subscribers) == 1


async def test_an_outage_is_logged_when_it_begins_and_when_it_ends(
    durable: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(presence, "BEAT_US", SECOND // 100)
    monkeypatch.setattr(presence, "RECONNECT_S", 0.01)
    async with redis_bus(durable.url) as bus:
        connection = (await bus.replica()).engine._engine._runner.connection
        listener = Mock(wraps=connection.listener)
        monkeypatch.setattr(connection, "listener", listener)
        with capture_logs() as logs:
            for outage in (1, 2):
                await kill(durable)
                await until(lambda: listener.call_count >= 10, "the listener to try again and again")
                await restart(durable)
                await until(lambda outage=outage: len(logs) == 4 * outage, "both to be back")  # type: ignore[misc]
                listener.reset_mock()
    said = ["heartbeats fail", "heartbeats work again", "the listener is connected again", "the listener lost Redis"]
    assert sorted(line["event"] for line in logs) == sorted(2 * said)


async def test_a_hanging_redis_fails_calls_fast_and_everything_recovers(
    start_redis: Callable[..., RedisServer],
) -> None:
    server = start_redis()
    async with redis_bus(server.url) as bus:
        topic = (await bus.replica()).topic()
        await topic.join()
        await topic.dispatch("before")
        server.process.send_signal(signal.SIGSTOP)
        began = time.monotonic()
        calls = [topic.dispatch(f"e{number}") for number in range(2 * MAX_CONNECTIONS)]
        failures = await asyncio.gather(*calls, return_exceptions=True)
        took_s = time.monotonic() - began
        figure(f"{len(calls)} calls to a Redis that hangs failed after {took_s:.1f} s")
        server.process.send_signal(signal.SIGCONT)
        for failure in failures:
            assert str(failure) == "engine redis: Redis does not answer"
        assert took_s < 2 * ANSWER_TIMEOUT_S
        assert (await topic.dispatch("before", "after")).duplicate_event_ids == ["before"]


async def test_a_slow_redis_breaks_nothing(start_redis: Callable[..., RedisServer]) -> None:
    server = start_redis()
    async with redis_bus(server.url) as bus:
        topic = (await bus.replica()).topic()
        await topic.join()
        server.process.send_signal(signal.SIGSTOP)
        dispatching = asyncio.create_task(topic.dispatch("event"))
        await asyncio.sleep(0.25 * ANSWER_TIMEOUT_S)
        server.process.send_signal(signal.SIGCONT)
        assert (await dispatching).event_ids == ["event"]


async def test_a_silent_connection_is_noticed(
    start_redis: Callable[..., RedisServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(presence, "SILENCE_S", 0.1)
    server = start_redis()
    async with redis_bus(server.url) as bus:
        replica = await bus.replica()
        topic = replica.topic()
        await topic.join()
        before = {client["id"] for client in bus.raw.client_list(_type="pubsub")}
        server.process.send_signal(signal.SIGSTOP)
        await asyncio.sleep(0.4)
        server.process.send_signal(signal.SIGCONT)
        await until(
            lambda: {client["id"] for client in bus.raw.client_list(_type="pubsub")} - before != set(),
            "the listener to reconnect",
        )


# --- answers that are lost ---


async def test_a_lease_call_that_ends_with_its_stream_keeps_nothing(
    bus: RedisBus, replica: Replica, topic: TopicDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    await topic.join()
    await topic.dispatch("a", "b")
    with lost_answers(replica, monkeypatch) as ran:
        leasing = asyncio.create_task(topic.lease())
        await ran.wait()
        leasing.cancel()
        await asyncio.wait([leasing])
    assert await topic.counts() == {EventState.LEASED: 2}
    await topic.shorten(HOUR)
    await topic.leave()
    other = (await bus.replica()).topic(topic.name)
    await other.join("other")
    again = await other.lease("other")
    assert [(event.event_id, event.attempt) for event in again] == [("a", 1), ("b", 1)]


def online(bus: RedisBus) -> int:
    """How many replicas of Redis receive writes."""
    replication = bus.raw.info("replication")
    return sum(replication[f"slave{each}"]["state"] == "online" for each in range(replication["connected_slaves"]))


@pytest.mark.parametrize("replicas", [0, 1])
async def test_a_dispatch_waits_for_redis_replicas(
    start_redis: Callable[..., RedisServer], replicas: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "REPLICATION_TIMEOUT_MS", 300 if not replicas else 2_000)
    primary = start_redis("--repl-diskless-sync-delay", "0")
    for _ in range(replicas):
        start_redis("--replicaof", "127.0.0.1", str(primary.port))
    async with redis_bus(primary.url) as bus:
        await until(lambda: online(bus) == replicas, "the replicas")
        topic = (await bus.replica(min_replicas_ack=1)).topic()
        await topic.join()
        if replicas:
            began = time.monotonic()
            await topic.dispatch("event", request_id="request")
            assert time.monotonic() - began < 1.5
        else:
            for _ in range(2):
                with pytest.raises(DispatcherNotWorking, match="only 0 of 1 replicas") as caught:
                    await topic.dispatch("event", request_id="request")
                assert caught.value.retry_after_us == SECOND
            await topic.harness.recorder.until_due(topic.name, "default", lambda at_us: at_us > 0)
        assert ids(await topic.lease()) == ["event"]
