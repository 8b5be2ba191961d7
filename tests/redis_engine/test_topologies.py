"""Redis with TLS, and behind sentinels."""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest
import redis
from duebus.v1 import event_bus_pb2
from duebus_server.domain.clock import SystemClock
from duebus_server.domain.errors import UnusableStorage
from duebus_server.domain.views import TopicConfig
from duebus_server.engine.redis import make_redis_engine
from support.builders import unique_name
from support.documents import ROOT
from support.proxy import proxy_to
from support.redis_app import app_on, until_accepted
from support.redis_bus import RedisBus, assert_works, redis_bus, until
from support.redis_server import RedisServer, free_port
from support.sentinel import sentinel_of
from support.tls import Certificates, make_certificates
from support.wire import figure

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

SETTLED = event_bus_pb2.LeaseFailure.REASON_SETTLED


# --- TLS ---


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return make_certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture
def tls_url(start_redis: Callable[..., RedisServer], certificates: Certificates) -> str:
    """A Redis that requires TLS and a certificate of the authority."""
    port = free_port()
    files = ("--tls-cert-file", certificates.server, "--tls-key-file", certificates.server_key)
    start_redis("--tls-port", str(port), *map(str, files), "--tls-ca-cert-file", str(certificates.ca))
    return f"rediss://127.0.0.1:{port}/0?ssl_ca_certs={certificates.ca}"


async def test_tls_with_a_certificate_on_both_sides(tls_url: str, certificates: Certificates) -> None:
    own = f"&ssl_certfile={certificates.client}&ssl_keyfile={certificates.client_key}"
    async with redis_bus(tls_url + own) as bus:
        await assert_works(bus)


@pytest.fixture(scope="module")
def others(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    """Expired certificates of another authority."""
    return make_certificates(tmp_path_factory.mktemp("others"), days=-1, authority="another authority")


async def refusal(url: str) -> str:
    """The message of a start that fails for good."""
    with pytest.raises(UnusableStorage) as caught:
        await make_redis_engine(url, unique_name(), SystemClock(), TopicConfig()).start()
    return str(caught.value)


SCHEMES = ["rediss://127.0.0.1:{port}/0", "redis+cluster://127.0.0.1:{port}/", "redis+sentinel://127.0.0.1:{port}/bus"]


@pytest.mark.parametrize("scheme", SCHEMES)
async def test_the_error_says_why_a_certificate_is_refused(
    start_redis: Callable[..., RedisServer], certificates: Certificates, others: Certificates, scheme: str
) -> None:
    def with_tls(own: Certificates, address: str = "127.0.0.1") -> str:
        port = free_port()
        files = ("--tls-cert-file", own.server, "--tls-key-file", own.server_key, "--tls-ca-cert-file", own.ca)
        start_redis(
            "--bind", "127.0.0.1", "127.0.0.2", "--tls-port", str(port), *map(str, files), "--tls-auth-clients", "no"
        )
        return scheme.format(port=port).replace("127.0.0.1", address) + "?ssl_ca_certs="

    refused = "engine redis: the certificate of Redis is refused: "
    assert await refusal(f"{with_tls(certificates)}{others.ca}") in (
        refused + "self-signed certificate in certificate chain",
        refused + "unable to get local issuer certificate",
    )
    assert await refusal(f"{with_tls(others)}{others.ca}") == refused + "certificate has expired"
    elsewhere = await refusal(f"{with_tls(certificates, '127.0.0.2')}{certificates.ca}")
    assert elsewhere == refused + "IP address mismatch, certificate is not valid for '127.0.0.2'"


@pytest.mark.parametrize("scheme", SCHEMES)
async def test_the_error_says_why_our_own_certificate_is_refused(
    tls_url: str, certificates: Certificates, others: Certificates, scheme: str
) -> None:
    url = scheme.format(port=urlsplit(tls_url).port) + f"?ssl_ca_certs={certificates.ca}"
    refused = "engine redis: Redis refuses the TLS connection: "
    assert await refusal(url) == refused + "certificate required"
    foreign = f"&ssl_certfile={others.client}&ssl_keyfile={others.client_key}"
    assert await refusal(url + foreign) == refused + "unknown ca"


# --- sentinels ---


@pytest.fixture
def sentinel(tmp_path: Path, start_redis: Callable[..., RedisServer]) -> Iterator[tuple[RedisServer, RedisServer, int]]:
    """A primary, its replica, and the port of the sentinel that watches them."""
    options = ("--repl-diskless-sync-delay", "0", "--appendonly", "yes")
    primary = start_redis(*options)
    replica = start_redis(*options, "--replicaof", "127.0.0.1", str(primary.port))
    with sentinel_of(tmp_path, primary.port) as port:
        yield primary, replica, port


def ask_sentinel(port: int, password: str | None = None) -> dict[str, Any]:
    with redis.Redis(port=port, password=password) as client:
        try:
            found: dict[str, Any] = client.sentinel_master("bus")
        except redis.RedisError:
            return {"port": 0, "num-slaves": 0}
        return found


async def test_a_failover_loses_no_event_that_the_replica_had(sentinel: Any) -> None:
    primary, replica, port = sentinel
    await until(lambda: ask_sentinel(port)["num-slaves"] == 1, "the sentinel to know both")
    bus = RedisBus(primary.url)
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
            await asyncio.to_thread(primary.kill)
            await until(lambda: ask_sentinel(port)["port"] == replica.port, "the failover", 20)
            elected_s = loop.time() - began
            failures = await until_accepted(here.ack, *held)
            # The answer of an attempt at the new primary may have come too late.
            assert {failure.reason for failure in failures} <= {SETTLED}, "no lease was lost"
            through_s = loop.time() - began
            figure(f"a new primary after {elected_s:.1f} s, calls through after {through_s:.1f} s")
            assert (await there.topic(topic)).queued == 0
            with redis.Redis.from_url(replica.url) as client:
                assert client.info("replication")["role"] == "master"
    finally:
        bus.raw.close()


async def test_the_documented_rights_are_enough_for_sentinels(
    tmp_path: Path, start_redis: Callable[..., RedisServer]
) -> None:
    primary = start_redis()
    found = re.search(r"^- the sentinels themselves: `(.+)`$", (ROOT / "docs/redis.md").read_text(), re.MULTILINE)
    assert found is not None
    with sentinel_of(tmp_path, primary.port, f"user duebus on >sesame -@all {found[1]}") as port:
        await until(lambda: ask_sentinel(port)["port"] == primary.port, "the sentinel")
        bus = RedisBus(primary.url)
        bus.url = f"redis+sentinel://127.0.0.1:{port}/bus/0?sentinel_username=duebus&sentinel_password=sesame"
        try:
            await assert_works(bus)
            with redis.Redis(port=port) as client:
                assert client.acl_log() == []
        finally:
            await bus.close()


async def test_sentinels_and_servers_have_different_passwords(
    tmp_path: Path, start_redis: Callable[..., RedisServer], hanging: str
) -> None:
    primary = start_redis("--requirepass", "of the server", password="of the server")
    lines = ('sentinel auth-pass bus "of the server"', "requirepass sesame")
    with sentinel_of(tmp_path, primary.port, *lines) as port:
        await until(lambda: ask_sentinel(port, "sesame")["port"] == primary.port, "the sentinel")
        url = f"redis+sentinel://:of%20the%20server@127.0.0.1:1,{hanging},127.0.0.1:{port}/bus/0"
        bus = RedisBus(primary.url)
        bus.url = url + "?sentinel_password=sesame"
        try:
            await assert_works(bus)
            bus.url = url
            assert await refusal(url) == "engine redis: the sentinels refuse the credentials"
        finally:
            await bus.close()


async def test_hanging_or_slow_sentinels_do_not_fail_calls(
    sentinel: tuple[RedisServer, RedisServer, int], hanging: str
) -> None:
    primary, _, port = sentinel
    await until(lambda: ask_sentinel(port)["port"] == primary.port, "the sentinel")
    async with proxy_to(f"127.0.0.1:{port}") as slow:
        slow.delay_s = 0.1
        bus = RedisBus(primary.url)
        bus.url = f"redis+sentinel://{hanging},{hanging},{hanging},{hanging},{slow.address}/bus/0"
        try:
            await assert_works(bus)
        finally:
            await bus.close()
