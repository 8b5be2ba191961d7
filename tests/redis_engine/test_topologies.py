"""Redis with TLS, behind sentinels, and as a cluster."""

from __future__ import annotations

import asyncio
import socket
import subprocess
from contextlib import AsyncExitStack, contextmanager, suppress
from typing import TYPE_CHECKING, Any

import grpc
import pytest
import redis
from duebus_server.domain.errors import DispatcherNotWorking
from support.builders import new_events, unique_name
from support.commands import watched
from support.redis_app import app_on
from support.redis_bus import RedisBus, redis_bus, until
from support.redis_server import RedisServer, free_port
from support.tls import Certificates, make_certificates
from support.topics import ids
from support.wire import figure
from support.wire import ids as delivered

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from pathlib import Path


# --- TLS ---


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return make_certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture
def tls_url(start_redis: Callable[..., RedisServer], certificates: Certificates) -> str:
    """A Redis that talks TLS, and to those alone that have a certificate of the authority."""
    port = free_port()
    files = ("--tls-cert-file", certificates.server, "--tls-key-file", certificates.server_key)
    start_redis("--tls-port", str(port), *map(str, files), "--tls-ca-cert-file", str(certificates.ca))
    return f"rediss://127.0.0.1:{port}/0?ssl_ca_certs={certificates.ca}"


async def test_tls_with_a_certificate_on_both_sides(tls_url: str, certificates: Certificates) -> None:
    own = f"&ssl_certfile={certificates.client}&ssl_keyfile={certificates.client_key}"
    async with redis_bus(tls_url + own) as bus:
        await assert_works(bus)


async def test_tls_without_our_certificate_is_refused(tls_url: str) -> None:
    async with redis_bus(tls_url) as bus:
        with pytest.raises(DispatcherNotWorking, match="can't be reached"):
            await bus.replica()


async def test_a_server_whose_authority_is_unknown_is_refused(tls_url: str, certificates: Certificates) -> None:
    own = f"?ssl_certfile={certificates.client}&ssl_keyfile={certificates.client_key}"
    async with redis_bus(tls_url.split("?", maxsplit=1)[0] + own) as bus:
        with pytest.raises(DispatcherNotWorking, match="can't be reached"):
            await bus.replica()


async def assert_works(bus: RedisBus) -> None:
    """Word from one replica reaches another, and an event goes all its way."""
    one, other = await bus.replica(), await bus.replica()
    topic = one.topic()
    await topic.join()
    assert await topic.lease() == []
    await other.topic(topic.name).dispatch("event")
    await one.heard.until_due(topic.name, "default", lambda at_us: at_us > 0)
    assert await topic.ack(await topic.lease_one()) == [None]


@pytest.fixture
def hanging() -> Iterator[str]:
    """The address of something that takes connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield f"127.0.0.1:{listener.getsockname()[1]}"


# --- sentinels ---

SENTINEL = """
port {port}
bind 127.0.0.1
dir {folder}
sentinel monitor bus 127.0.0.1 {master} 1
sentinel down-after-milliseconds bus 500
sentinel failover-timeout bus 3000
"""


@contextmanager
def sentinel_of(folder: Path, master: RedisServer, *lines: str) -> Iterator[int]:
    """A sentinel that watches a master during the block; its port."""
    port = free_port()
    config = folder / "sentinel.conf"
    config.write_text(SENTINEL.format(port=port, folder=folder, master=master.port) + "\n".join(lines))
    with (folder / "sentinel.log").open("wb") as log:
        process = subprocess.Popen(["redis-server", str(config), "--sentinel"], stdout=log, stderr=log)
    try:
        yield port
    finally:
        process.kill()
        process.wait()


@pytest.fixture
def sentinel(tmp_path: Path, start_redis: Callable[..., RedisServer]) -> Iterator[tuple[RedisServer, RedisServer, int]]:
    """A master, its replica, and the port of the sentinel that watches them."""
    options = ("--repl-diskless-sync-delay", "0", "--appendonly", "yes")
    master = start_redis(*options)
    replica = start_redis(*options, "--replicaof", "127.0.0.1", str(master.port))
    with sentinel_of(tmp_path, master) as port:
        yield master, replica, port


def ask_sentinel(port: int, password: str | None = None) -> dict[str, Any]:
    with redis.Redis(port=port, password=password) as client:
        try:
            found: dict[str, Any] = client.sentinel_master("bus")
        except redis.RedisError:
            return {"port": 0, "num-slaves": 0}
        return found


async def test_a_failover_loses_nothing_that_the_replica_had(sentinel: Any) -> None:
    master, replica, port = sentinel
    await until(lambda: ask_sentinel(port)["num-slaves"] == 1, "the sentinel to know both")
    bus = RedisBus(master.url)
    bus.url = f"redis+sentinel://127.0.0.1:{port}/bus/0"
    bus.make_options = {"min_replicas_ack": 1}
    try:
        async with app_on(bus) as here, app_on(bus) as there:
            topic = unique_name()
            stream = await there.subscribe(topic, max_in_flight=20)
            await here.dispatch(topic, *(f"e{number}" for number in range(10)))
            held = await stream.take(10)
            loop = asyncio.get_running_loop()
            began = loop.time()
            await asyncio.to_thread(master.kill)
            await until(lambda: ask_sentinel(port)["port"] == replica.port, "the failover", 20)
            elected_s = loop.time() - began
            await until_accepted(here.ack, *held)
            through_s = loop.time() - began
            figure(f"a new master after {elected_s:.1f} s, calls through after {through_s:.1f} s")
            assert (await there.topic(topic)).queued == 0
            with redis.Redis.from_url(replica.url) as client:
                assert client.info("replication")["role"] == "master"
    finally:
        bus.raw.close()


async def test_sentinels_and_servers_have_passwords_of_their_own(
    tmp_path: Path, start_redis: Callable[..., RedisServer], hanging: str
) -> None:
    master = start_redis("--requirepass", "of the server", password="of the server")
    lines = ('sentinel auth-pass bus "of the server"', "requirepass sesame")
    with sentinel_of(tmp_path, master, *lines) as port:
        await until(lambda: ask_sentinel(port, "sesame")["port"] == master.port, "the sentinel")
        url = f"redis+sentinel://:of%20the%20server@127.0.0.1:1,{hanging},127.0.0.1:{port}/bus/0"
        bus = RedisBus(master.url)
        bus.url = url + "?sentinel_password=sesame"
        try:
            await assert_works(bus)
            bus.url = url
            with pytest.raises(DispatcherNotWorking, match="can't be reached"):
                await bus.replica()
        finally:
            await bus.close()


async def until_accepted(call: Callable[..., Any], *arguments: Any) -> None:
    """Repeat a call, as the clients do, for as long as Redis is away."""
    async with asyncio.timeout(10):
        while True:
            with suppress(grpc.aio.AioRpcError):
                assert await call(*arguments) == []
                return
            await asyncio.sleep(0.1)


# --- a cluster ---


@pytest.fixture(scope="module")
def cluster() -> Any:
    """Three masters that share the slots."""
    options = ("--cluster-enabled", "yes", "--cluster-node-timeout", "2000")
    nodes = [RedisServer(*options, port=free_port(below=50_000)) for _ in range(3)]
    addresses = [f"127.0.0.1:{node.port}" for node in nodes]
    subprocess.run(["redis-cli", "--cluster", "create", *addresses, "--cluster-yes"], check=True, capture_output=True)
    yield nodes
    for node in nodes:
        node.close()


@pytest.fixture
async def cluster_bus(cluster: list[RedisServer]) -> AsyncIterator[RedisBus]:
    for node in cluster:
        with redis.Redis.from_url(node.url) as client:
            await until(lambda client=client: client.cluster("info")["cluster_state"] == "ok", "the cluster")  # type: ignore[misc]
    bus = RedisBus(cluster[0].url)
    bus.url = f"redis+cluster://127.0.0.1:{cluster[0].port}"
    yield bus
    await bus.close()


async def test_any_node_of_a_cluster_that_is_named_will_do(
    cluster_bus: RedisBus, cluster: list[RedisServer], hanging: str
) -> None:
    cluster_bus.url = f"redis+cluster://127.0.0.1:1,{hanging},127.0.0.1:{cluster[1].port}"
    await assert_works(cluster_bus)


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


async def test_word_goes_round_in_a_cluster(cluster_bus: RedisBus) -> None:
    async with app_on(cluster_bus, sweep_interval="60s") as here, app_on(cluster_bus, sweep_interval="60s") as there:
        for _ in range(5):
            topic = unique_name()
            stream = await there.subscribe(topic, max_in_flight=1)
            await here.dispatch(topic, "a", "b")
            first = await asyncio.wait_for(stream.one(), 2)
            assert await here.ack(first) == []
            assert delivered([await asyncio.wait_for(stream.one(), 2)]) == ["b"]


async def test_a_replica_that_goes_leaves_its_leases_to_others_in_a_cluster(cluster_bus: RedisBus) -> None:
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
    assert max(rates) < 5


async def test_a_sweep_finds_what_is_due_on_every_node_though_the_topics_have_moved(
    cluster_bus: RedisBus, monkeypatch: pytest.MonkeyPatch
) -> None:
    replica, other = await cluster_bus.replica(), await cluster_bus.replica()
    topics = [replica.topic() for _ in range(10)]
    for topic in topics:
        await topic.join()
        assert await topic.lease() == []
        await other.topic(topic.name).dispatch("event")
    for node_of in (replica.engine._runner.connection.node_of, lambda _: "all on one, as far as it knows"):
        monkeypatch.setattr(replica.engine._runner.connection, "node_of", node_of)
        replica.heard.forget()
        await replica.engine.expire_leases()
        assert {told.topic for told in replica.heard.dues} == {topic.name for topic in topics}
        assert [await replica.engine.backlog(topic.name, "default") for topic in topics] == [1] * 10


async def test_waiting_for_replicas_is_refused_with_a_cluster(cluster_bus: RedisBus) -> None:
    with pytest.raises(ValueError, match="min_replicas_ack is not offered with a cluster"):
        cluster_bus.make(min_replicas_ack=1)
