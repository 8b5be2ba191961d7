"""Redis as a cluster: topics on several nodes, and the loss of a node."""

from __future__ import annotations

import asyncio
import signal
from contextlib import AsyncExitStack, contextmanager, suppress
from typing import TYPE_CHECKING, Any

import grpc
import pytest
import redis
from duebus.v1 import event_bus_pb2
from duebus_server.domain.clock import HOUR, SECOND
from duebus_server.domain.errors import DispatcherNotWorking
from duebus_server.engine.redis.replicas import sweeping
from duebus_server.engine.redis.replicas.presence import SILENCE_S
from structlog.testing import capture_logs
from support.builders import new_events, unique_name
from support.commands import watched
from support.redis_app import app_on, until_accepted
from support.redis_bus import RedisBus, assert_works, until
from support.redis_cluster import running_cluster, until_it_is_whole
from support.server_process import assert_untroubled
from support.start import CANNOT_SERVE, WRONG_SETTING, try_to_start
from support.topics import ids
from support.wire import connect, failure_of, figure
from support.wire import ids as delivered

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Mapping

    from support.redis_server import RedisServer
    from support.server_process import ServerProcess
    from support.topics import TopicDriver

SETTLED = event_bus_pb2.LeaseFailure.REASON_SETTLED


async def test_any_named_node_of_a_cluster_is_enough(
    cluster_bus: RedisBus, cluster: list[RedisServer], hanging: str
) -> None:
    cluster_bus.url = f"redis+cluster://127.0.0.1:1,{hanging},127.0.0.1:{cluster[1].port}"
    await assert_works(cluster_bus)


async def test_operators_reach_topics_on_any_node_and_every_replica_is_notified(
    cluster_bus: RedisBus, cluster: list[RedisServer]
) -> None:
    here, there = await cluster_bus.replica(), await cluster_bus.replica()
    topics = [here.topic() for _ in range(6)]
    for topic in topics:
        await there.topic(topic.name).join()
        await topic.join("session", "other")
        await topic.dispatch("dead", "waits", "later", request_id="request")
        await topic.configure(max_retries=0, dead_letter_retention_us=HOUR)
        await topic.nack(*await topic.lease("session", "other", max_events=1), group="other")
        assert (await topic.redrive(group="other")).moved == 1
        await topic.reschedule("later", delay_us=HOUR)
        assert (await topic.cancel("waits")).cancelled == 1
        await topic.pause()
        await topic.resume()
        assert await topic.delete_group("other") == 2
        assert await topic.delete() == 2
        await there.recorder.until(lambda name=topic.name: (name, None) in there.recorder.deletions, "the deletion")  # type: ignore[misc]
    assert await here.engine.list_topics("", 100) == []
    names = [topic.name for topic in topics]
    for node in cluster:
        with redis.Redis.from_url(node.url) as client:
            keys = [key.decode() for key in client.keys(f"{cluster_bus.namespace}:*")]
        assert [key for key in keys if any(name in key for name in names)] == []


async def test_topics_of_a_cluster_are_spread_over_its_nodes(cluster_bus: RedisBus, cluster: list[RedisServer]) -> None:
    replica = await cluster_bus.replica()
    topics = [replica.topic() for _ in range(20)]
    for topic in topics:
        await topic.join()
        await topic.dispatch(*new_events(5), request_id="request")
    for node in cluster:
        with redis.Redis.from_url(node.url) as client:
            assert client.keys(f"{cluster_bus.namespace}:*:events")
    await replica.engine.expire_leases()
    assert await replica.engine.queued() == 100
    assert len(await replica.engine.list_topics("", 100)) == 20
    for topic in topics:
        held = await topic.lease()
        assert len(held) == 5
        assert await topic.ack(*held[:3]) == [None] * 3
        assert await topic.nack(*held[3:], delay_us=0) == [None] * 2
        assert len(await topic.lease()) == 2


async def test_the_partitions_of_a_topic_are_spread_over_the_nodes_of_a_cluster(
    cluster_bus: RedisBus, cluster: list[RedisServer]
) -> None:
    here, there = await cluster_bus.replica(), await cluster_bus.replica()
    topic = here.topic()
    worker = there.topic(topic.name)
    await worker.join()
    await topic.configure(partitions=16)
    for nth in range(64):
        await topic.dispatch(*new_events(3), f"chosen {nth}", request_id=f"request {nth}")
    counts = []
    for node in cluster:
        with redis.Redis.from_url(node.url) as client:
            counts.append(
                sum(client.hlen(key) for key in client.keys(f"{cluster_bus.namespace}:{{{topic.name}/*}}:events"))
            )
    assert sum(counts) == 64 * 4
    assert all(counts), counts
    assert (await topic.dispatch("chosen 7", request_id="another")).duplicate_event_ids == ["chosen 7"]
    held = await worker.lease_all()
    assert len({lease.event_id for lease in held}) == len({lease.fencing_token for lease in held}) == 64 * 4
    assert await topic.ack(*held) == [None] * 64 * 4
    assert await topic.queued() == 0
    assert await topic.delete() == 0


async def test_notifications_reach_every_replica_in_a_cluster(cluster_bus: RedisBus) -> None:
    async with app_on(cluster_bus, sweep_interval="60s") as here, app_on(cluster_bus, sweep_interval="60s") as there:
        for _ in range(5):
            topic = unique_name()
            stream = await there.subscribe(topic, max_in_flight=1)
            await here.dispatch(topic, "a", "b")
            first = await stream.one()
            assert await here.ack(first) == []
            assert delivered([await stream.one()]) == ["b"]


async def test_a_dead_replica_leaves_its_leases_to_others_in_a_cluster(cluster_bus: RedisBus) -> None:
    going, other = await cluster_bus.replica(), await cluster_bus.replica()
    topics = [going.topic() for _ in range(6)]
    for topic in topics:
        await topic.join()
        await topic.dispatch("event")
        await topic.lease_one()
    await going.engine.stop()
    for topic in topics:
        here = other.topic(topic.name)
        await here.join("other")
        assert ids(await here.lease("other")) == ["event"]


async def test_a_dead_replica_is_not_forgotten_while_a_node_refuses_to_end_its_sessions(
    cluster_bus: RedisBus, cluster: list[RedisServer]
) -> None:
    """The sessions in the partitions of that node stayed subscribed for good, and their leases lasted to the end."""
    going, other = await cluster_bus.replica(), await cluster_bus.replica()
    topics = [going.topic() for _ in range(12)]
    for topic in topics:
        await topic.join()
        await topic.dispatch("event")
        await topic.lease_one(lease_us=HOUR)
    replicas = f"{cluster_bus.namespace}:{{{cluster_bus.namespace}:layout}}:replicas"
    of_the_bus = (replicas, f"{cluster_bus.namespace}:replica:{going.name}:groups")
    needed = {holder_of(cluster, key).port for key in of_the_bus}
    refusing = next(node for node in cluster if node.port not in needed)
    with redis.Redis.from_url(holder_of(cluster, replicas).url) as noting:
        # when a node of the cluster refuses writes, and a server stops
        with refusing_writes(refusing):
            await going.engine.stop()
            assert going.name.encode() in noting.zrange(replicas, 0, -1)
        # then another ends its sessions once the node accepts writes
        await until(lambda: going.name.encode() not in noting.zrange(replicas, 0, -1), "the others to forget it", 20)
    for topic in topics:
        here = other.topic(topic.name)
        await here.join("other")
        assert ids(await here.lease("other")) == ["event"]
        assert [one.session_id for one in (await here.group()).subscribers] == ["other"]


async def test_a_takeover_that_a_node_refuses_does_not_hold_up_that_from_another_dead_replica(
    cluster_bus: RedisBus, cluster: list[RedisServer]
) -> None:
    """The sessions of replicas that died after the first one stayed subscribed, and kept their leases."""
    first, second, other = [await cluster_bus.replica() for _ in range(3)]
    replicas = f"{cluster_bus.namespace}:{{{cluster_bus.namespace}:layout}}:replicas"
    with redis.RedisCluster.from_url(cluster[0].url) as client:

        def port_of(key: str) -> int:
            return int(client.get_node_from_key(key).port)

        needed = {port_of(replicas), port_of(first.engine._engine._runner.keys.lock("sweep"))}
        node = next(node for node in cluster if node.port not in needed)
        refused, accepted = first.topic(), second.topic()
        while port_of(cluster_bus.key(refused.name, "events")) != node.port:
            refused = first.topic()
        while port_of(cluster_bus.key(accepted.name, "events")) == node.port:
            accepted = second.topic()
        for topic in (refused, accepted):
            await topic.join()
            await topic.dispatch("event")
            await topic.lease_one(lease_us=HOUR)
        # when two servers die, and a node refuses to end the sessions of the first
        with refusing_writes(node), capture_logs() as logs:
            await first.engine._engine._presence.abandon()
            await second.engine._engine._presence._beat()  # so that the first is found first
            await second.engine._engine._presence.abandon()
            # then those of the second end meanwhile
            sessions = cluster_bus.key(accepted.name, "group:default:sessions")
            await until(lambda: not client.exists(sessions), "the sessions of the second to end")
        assert first.name in {entry["replica"] for entry in logs if entry["event"] == "a replica has died"}
        assert "heartbeats fail" not in {entry["event"] for entry in logs}
        # and those of the first once the node accepts writes
        await until(lambda: client.zscore(replicas, first.name) is None, "the others to forget the first")
    for topic in (refused, accepted):
        here = other.topic(topic.name)
        await here.join("other")
        assert ids(await here.lease("other")) == ["event"]


async def test_an_idle_bus_sends_each_node_of_a_cluster_few_commands(
    cluster_bus: RedisBus, cluster: list[RedisServer]
) -> None:
    """100 topics, 100 subscribers, one replica."""
    seconds = 5
    async with app_on(cluster_bus) as wire, AsyncExitStack() as watching:
        await asyncio.gather(*(wire.subscribe(unique_name()) for _ in range(100)))
        counts = []
        for node in cluster:
            client = watching.enter_context(redis.Redis.from_url(node.url))
            counts.append(watching.enter_context(watched(client)))
        await asyncio.sleep(seconds)
    rates = [sum(commands.values()) / seconds for commands in counts]
    figure(f"an idle replica of 100 topics sends the nodes of its cluster {rates} commands a second")
    assert sum(rates) > 1
    assert max(rates) < 40, "50 topics a sweep, and heartbeats"


async def test_a_sweep_finds_what_is_due_on_every_node(cluster_bus: RedisBus) -> None:
    replica, other = await cluster_bus.replica(), await cluster_bus.replica()
    topics = [replica.topic() for _ in range(10)]
    for topic in topics:
        await topic.join()
        assert await topic.lease() == []
        await other.topic(topic.name).dispatch("event")
    replica.recorder.forget()
    await replica.engine.expire_leases()
    assert {due.topic for due in replica.recorder.dues} == {topic.name for topic in topics}
    assert [await replica.engine.backlog(topic.name, "default") for topic in topics] == [1] * 10


async def test_sweeps_check_every_idle_topic_in_turn(cluster_bus: RedisBus, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweeping, "IDLE_AT_ONCE", 4)
    replica, other = await cluster_bus.replica(), await cluster_bus.replica()
    topics = [replica.topic() for _ in range(10)]
    for topic in topics:
        await topic.join()
        await other.topic(topic.name).dispatch("event")
    found = []
    for _ in range(3):
        replica.recorder.forget()
        await replica.engine.expire_leases()
        found.append({due.topic for due in replica.recorder.dues})
    assert [len(names) for names in found] == [4, 4, 4]
    assert set.union(*found) == {topic.name for topic in topics}


def test_waiting_for_replicas_is_refused_with_a_cluster() -> None:
    status, out, err = try_to_start(
        "--engine", "redis", "--redis-url", "redis+cluster://127.0.0.1:1", "--min-replicas-ack", "1"
    )
    assert (status, out) == (WRONG_SETTING, "")
    assert err == "duebus: redis_url: min_replicas_ack is not supported on a cluster\n"


# --- the whole cluster is unreachable, or Redis is no cluster ---


async def all_refused(calls: Mapping[str, Callable[[], Awaitable[object]]]) -> set[str]:
    """Assert that each call fails with an error that can be retried. Returns its text."""
    words = set()
    for name, call in calls.items():
        failure = await failure_of(call())
        assert (failure.code, failure.reason) == (grpc.StatusCode.UNAVAILABLE, "DISPATCHER_NOT_WORKING"), name
        assert failure.retry_after_us == SECOND, name
        words.add(failure.message.removeprefix("engine redis: "))
    return words


async def test_calls_to_an_unreachable_cluster_are_refused_like_those_to_a_single_redis(
    start_server: Callable[..., ServerProcess],
) -> None:
    with running_cluster(3, 0, 4_000, "--appendonly", "yes") as nodes:
        server = start_server("--engine", "redis", "--redis-url", f"redis+cluster://127.0.0.1:{nodes[0].port}")
        topic = unique_name()
        async with connect(server.address) as wire:
            stream = await wire.subscribe(topic)
            await wire.dispatch(topic, "held")
            held = await stream.one()
            calls = {
                "Dispatch": lambda: wire.dispatch(topic, "refused"),
                "Ack": lambda: wire.ack(held),
                "Subscribe": lambda: wire.subscribe(unique_name()),
                "GetTopic": lambda: wire.topic(topic),
                "ListTopics": wire.topic_names,
            }
            # when a node without a replica is lost, all calls are refused
            nodes[2].kill()
            with redis.Redis.from_url(nodes[0].url) as client:
                await until(lambda: client.cluster("info")["cluster_state"] == "fail", "the others to stop")
            assert await all_refused(calls) <= {"the Redis cluster is down", "Redis can't be reached"}
            for node in nodes[:2]:
                node.kill()
            for _ in range(3):  # and also once the client knows that no node is left
                assert await all_refused(calls) == {"Redis can't be reached"}
            for node in nodes:
                node.restart()
            failures = await until_accepted(wire.ack, held)
            # While the nodes start, an attempt may have settled the event and its answer may have come too late.
            assert {failure.reason for failure in failures} <= {SETTLED}, "no lease was lost"
            await until_accepted(wire.dispatch, topic, "after")
            assert delivered([await stream.one()]) == ["after"]
        assert_untroubled(server.log.read_text())


async def test_a_url_that_does_not_fit_the_kind_of_redis_is_one_line(cluster: list[RedisServer], bus: RedisBus) -> None:
    for url, problem in (
        (cluster[0].url, "this Redis is a cluster: use a redis+cluster:// URL"),
        (bus.url.replace("redis://", "redis+cluster://"), "this Redis is not a cluster: use a redis:// URL"),
    ):
        status, out, err = try_to_start("--engine", "redis", "--redis-url", url.removesuffix("/0"))
        assert (status, out, err) == (CANNOT_SERVE, "", f"duebus: engine redis: {problem}\n")


# --- a node is lost ---


@pytest.fixture
def with_replicas() -> Iterator[list[RedisServer]]:
    """Three primaries, each with a replica that can replace it."""
    with running_cluster(3, 1, 2_500) as nodes:
        yield nodes


def role(node: RedisServer) -> dict[str, Any]:
    with redis.Redis.from_url(node.url) as client:
        found: dict[str, Any] = client.info("replication")
        return found


@contextmanager
def refusing_writes(server: RedisServer) -> Iterator[None]:
    """The node refuses writes during the block."""
    with redis.Redis.from_url(server.url) as node:
        node.config_set("min-replicas-to-write", 1)
        try:
            yield
        finally:
            node.config_set("min-replicas-to-write", 0)


def holder_of(nodes: list[RedisServer], key: str) -> RedisServer:
    """The primary that has a key."""
    for node in nodes:
        with redis.Redis.from_url(node.url) as client:
            if role(node)["role"] == "master" and client.keys(key):
                return node
    raise AssertionError(f"no primary has {key}")


def is_replicated(primary: RedisServer) -> bool:
    """Whether its replica has received every write."""
    state = role(primary)
    return bool(state["connected_slaves"]) and state["slave0"]["offset"] == state["master_repl_offset"]


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP], ids=["killed", "hangs"])
async def test_a_lost_node_is_replaced_by_its_replica_and_no_event_is_lost(
    with_replicas: list[RedisServer], how: signal.Signals
) -> None:
    await until_it_is_whole(with_replicas)
    bus = RedisBus(with_replicas[0].url)
    bus.url = "redis+cluster://" + ",".join(f"127.0.0.1:{node.port}" for node in with_replicas)
    with capture_logs() as logs:
        await lose_a_node(bus, with_replicas, how)
    bus.raw.close()
    assert "unexpected error" not in {line["event"] for line in logs}


async def lose_a_node(bus: RedisBus, nodes: list[RedisServer], how: signal.Signals) -> None:
    async with app_on(bus) as here, app_on(bus) as there:
        names = [unique_name() for _ in range(6)]
        streams = {name: await there.subscribe(name, max_in_flight=4) for name in names}
        held = []
        for name, stream in streams.items():
            await here.dispatch(name, "a", "b")
            held += await stream.take(2)
        lost = holder_of(nodes, f"{bus.namespace}:{{{names[0]}}}:events")
        await until(lambda: is_replicated(lost), "the replica")
        loop = asyncio.get_running_loop()
        began = loop.time()
        lost.process.send_signal(how)
        failures = await until_accepted(here.ack, *held)
        # A failed attempt may have settled events on the other nodes, or on the lost one before it died.
        assert {failure.reason for failure in failures} <= {SETTLED}, "no lease was lost"
        acked_s = loop.time() - began
        for name, stream in streams.items():
            await until_accepted(here.dispatch, name, "after")
            assert delivered([await stream.one()]) == ["after"]
        figure(f"a node of a cluster {how.name}: acked after {acked_s:.1f} s, all after {loop.time() - began:.1f} s")
        lost.process.send_signal(signal.SIGCONT)


async def until_dispatched(topic: TopicDriver, event_id: str) -> None:
    """Retry a dispatch, as the clients do."""
    async with asyncio.timeout(30):
        while True:
            with suppress(DispatcherNotWorking):
                await topic.dispatch(event_id)
                return
            await asyncio.sleep(0.05)


@pytest.mark.parametrize("how", ["asked", "killed"])
async def test_calls_and_the_listener_are_back_soon_after_a_new_primary(
    with_replicas: list[RedisServer], how: str
) -> None:
    nodes = with_replicas
    await until_it_is_whole(nodes)
    bus = RedisBus(nodes[0].url)
    bus.url = "redis+cluster://" + ",".join(f"127.0.0.1:{node.port}" for node in nodes)
    here, there = await bus.replica(), await bus.replica()
    # given a topic on the primary on which the other server listens
    client = there.engine._engine._runner.connection.redis
    old = next(node for node in nodes if node.port == listened_on(nodes, bus))
    topic = here.topic()
    while client.get_node_from_key(bus.key(topic.name, "events")).port != old.port:
        topic = here.topic()
    worker = there.topic(topic.name)
    await worker.join()
    assert await worker.lease() == []
    await until(lambda: is_replicated(old), "the replica")
    new = next(node for node in nodes if role(node).get("master_port") == old.port)
    # when it is replaced
    if how == "asked":
        with redis.Redis.from_url(new.url) as asked:
            asked.execute_command("CLUSTER FAILOVER")
    else:
        await asyncio.to_thread(old.kill)
    await until(lambda: role(new)["role"] == "master", "the failover")
    # then a dispatch goes through, and the other server hears of it
    loop = asyncio.get_running_loop()
    began_s = loop.time()
    await until_dispatched(topic, "after")
    through_s = loop.time() - began_s
    if not there.recorder.dues:
        await there.recorder.until_due(topic.name, "default", lambda at_us: at_us > 0)
    heard_s = loop.time() - began_s
    figure(f"a new primary of a cluster ({how}): calls after {through_s:.2f} s, the listener after {heard_s:.2f} s")
    assert max(through_s, heard_s) < SILENCE_S, "sooner than a connection that is silent is left"
    await bus.close()


async def test_a_listener_leaves_a_lost_node_without_a_call_to_it() -> None:
    with running_cluster(3, 0, 5_000) as nodes:
        bus = RedisBus(nodes[0].url)
        bus.url = "redis+cluster://" + ",".join(f"127.0.0.1:{node.port}" for node in nodes)
        # given a bus whose heartbeats and whose topic are not on the node on which it listens
        while True:
            replica = await bus.replica()
            client, topic = replica.engine._engine._runner.connection.redis, replica.topic()
            lost = next(node for node in nodes if node.port == listened_on(nodes, bus))
            used = {
                client.get_node_from_key(key).port for key in (bus.key(topic.name, "events"), f"{bus.namespace}:layout")
            }
            if lost.port not in used:
                break
            await replica.engine.stop()
            bus.namespace = unique_name("bus")
        await topic.join()
        assert await topic.lease() == []
        # when that node is lost
        replica.recorder.forget()
        await asyncio.to_thread(lost.kill)
        # then it listens on another node at once, and checks for events again
        await replica.recorder.until_due(topic.name, "default", lambda _: True)
        await bus.close()


def listened_on(nodes: list[RedisServer], bus: RedisBus) -> int:
    """The port of a primary on which a server of the bus listens."""
    for node in nodes:
        with redis.Redis.from_url(node.url) as client:
            if client.client_list(_type="pubsub") and role(node)["role"] == "master":
                return node.port
    raise AssertionError("nobody listens on a primary")
