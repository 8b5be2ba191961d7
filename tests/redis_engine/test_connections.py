"""Connecting to Redis: every form of URL, credentials that never leak, and starts that fail with one line."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
import redis
from duebus_server.domain.clock import SystemClock
from duebus_server.domain.errors import DispatcherNotWorking
from duebus_server.domain.views import TopicConfig
from duebus_server.engine.redis import Credentials, RedisUrlError, make_redis_engine
from duebus_server.engine.redis.transport.connection import MAX_CONNECTIONS
from structlog.testing import capture_logs
from support.builders import new_events, unique_name
from support.redis_bus import RedisBus, assert_works, pipelined, redis_bus
from support.start import CANNOT_SERVE, WRONG_SETTING, try_to_start
from support.tls import make_certificates

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from support.redis_bus import Replica
    from support.redis_server import RedisServer
    from support.server_process import ServerProcess
    from support.topics import TopicDriver

PASSWORD = "p@ss/w#rd:%25"
IN_A_URL = "p%40ss%2Fw%23rd%3A%2525"


@pytest.fixture
def locked(start_redis: Callable[..., RedisServer], tmp_path: Path) -> RedisServer:
    """A Redis with a password, and a user with the same password."""
    rules = tmp_path / "users.acl"
    rules.write_text(f"user default on >{PASSWORD} ~* &* +@all\nuser bus on >{PASSWORD} ~bus.* &bus.* +@all\n")
    return start_redis("--aclfile", str(rules), password=PASSWORD)


async def test_a_password_in_the_url(locked: RedisServer) -> None:
    async with redis_bus(locked.url.replace("//", f"//:{IN_A_URL}@")) as bus:
        await assert_works(bus)


async def test_a_user_in_the_url(locked: RedisServer) -> None:
    async with redis_bus(locked.url.replace("//", f"//bus:{IN_A_URL}@")) as bus:
        await assert_works(bus)


async def test_separate_credentials_take_precedence_over_those_in_the_url(locked: RedisServer) -> None:
    async with redis_bus(locked.url.replace("//", "//somebody:else@")) as bus:
        bus.make_options = {"credentials": Credentials("bus", PASSWORD)}
        await assert_works(bus)


@pytest.mark.parametrize("userinfo", ["", ":wrong@", "bus:wrong@", "nobody:wrong@"])
async def test_wrong_credentials_are_reported_without_quoting_them(locked: RedisServer, userinfo: str) -> None:
    async with redis_bus(locked.url.replace("//", f"//{userinfo}")) as bus:
        with pytest.raises(DispatcherNotWorking) as caught:
            await bus.replica()
    assert str(caught.value) == "engine redis: Redis refuses the credentials"


def test_wrong_credentials_are_one_line_at_the_start(locked: RedisServer) -> None:
    status, out, err = try_to_start("--engine", "redis", "--redis-url", locked.url.replace("//", "//:wrong@"))
    assert (status, out, err) == (CANNOT_SERVE, "", "duebus: engine redis: Redis refuses the credentials\n")


def test_a_password_from_a_file_or_the_environment(
    locked: RedisServer, tmp_path: Path, start_server: Callable[..., ServerProcess]
) -> None:
    password = tmp_path / "password"
    password.write_text(PASSWORD + "\n")
    flags = ("--engine", "redis", "--redis-url", locked.url, "--namespace", unique_name("bus"))
    start_server(*flags, "--redis-password-file", str(password))
    start_server(*flags, env={"DUEBUS_REDIS_PASSWORD": PASSWORD, "DUEBUS_REDIS_USERNAME": "bus"})


async def leave(replica: Replica) -> None:
    """Close the replica's connections to Redis, all but the listener's."""
    connection = replica.engine._engine._runner.connection
    connection.scripts.close()
    await connection.redis.connection_pool.disconnect()


@pytest.mark.parametrize("username", [None, "bus"])
async def test_a_rotated_password_is_used_for_the_next_connection(
    locked: RedisServer, tmp_path: Path, username: str | None
) -> None:
    path = tmp_path / "password"
    path.write_text(PASSWORD)
    async with redis_bus(locked.url) as bus:
        bus.make_options = {"credentials": Credentials(username, password_file=path)}
        replica = await bus.replica()
        topic = replica.topic()
        await topic.join()
        await pipelined(replica)
        # when the password is replaced in Redis, and then in the file
        with redis.Redis.from_url(bus.url, password=PASSWORD) as admin:
            admin.execute_command("ACL SETUSER", username or "default", "resetpass", ">new")
            path.write_text("new\n")
            admin.client_kill_filter(_type="pubsub")
        await leave(replica)
        # then calls and the listener connect with the new one
        assert await topic.lease() == []
        await (await bus.replica()).topic(topic.name).dispatch("event")
        await replica.recorder.until_due(topic.name, "default", lambda at_us: at_us > 0)
        # and a file that is missing for a moment does not end the server
        path.unlink()
        await leave(replica)
        with pytest.raises(DispatcherNotWorking, match=r"the password file .*: No such file or directory: .*password"):
            await topic.dispatch("refused")
        path.write_text("new")
        await topic.dispatch("another")
        await pipelined(replica)


def test_a_password_file_that_is_missing_is_one_line_at_the_start(tmp_path: Path) -> None:
    missing = tmp_path / "missing"
    status, out, err = try_to_start("--engine", "redis", "--redis-password-file", str(missing))
    assert (status, out) == (WRONG_SETTING, "")
    assert err == f"duebus: redis_password_file: No such file or directory: {missing}\n"


async def test_a_unix_socket(start_redis: Callable[..., RedisServer], tmp_path: Path) -> None:
    start_redis("--unixsocket", str(tmp_path / "socket"))
    async with redis_bus(f"unix://{tmp_path}/socket?db=1") as bus:
        await assert_works(bus)
        assert bus.raw.dbsize() > 0


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("http://127.0.0.1:1", "scheme 'http' is not one of redis, rediss, unix, redis+sentinel, redis+cluster"),
        ("127.0.0.1:6379", "scheme '' is not one of redis, rediss, unix, redis+sentinel, redis+cluster"),
        ("", "scheme '' is not one of redis, rediss, unix, redis+sentinel, redis+cluster"),
        ("redis://127.0.0.1:port/0", "the port is not a number from 1 to 65535"),
        ("redis://:sec/ret@127.0.0.1:6379/0", "the database is not a number"),
        ("redis://:sec#ret@127.0.0.1:99999/0", "the port is not a number from 1 to 65535"),
        ("redis://127.0.0.1:99999/0", "the port is not a number from 1 to 65535"),
        (f"redis://127.0.0.1:{5_000 * '9'}/0", "the port is not a number from 1 to 65535"),
        (f"redis://127.0.0.1:6379/{5_000 * '9'}", "the database is not a number"),
        ("redis://127.0.0.1:6379/first", "the database is not a number"),
        ("redis://127.0.0.1:6379/0?db=first", "the database is not a number"),
        ("redis://127.0.0.1:6379/0?colour=red", "no such option: colour"),
        ("redis+cluster://127.0.0.1:6379/?colour=red", "no such option: colour"),
        ("redis+sentinel://127.0.0.1:6379/service?colour=red", "no such option: colour"),
        (
            "redis+sentinel://127.0.0.1:6379",
            "the URL of sentinels is redis+sentinel://HOST:PORT,HOST:PORT/SERVICE[/DB]",
        ),
        ("redis+sentinel://:secret@127.0.0.1/service", "'127.0.0.1' is not HOST:PORT"),
        ("redis+sentinel://127.0.0.1:1/service/first", "the database is not a number"),
        ("redis://127.0.0.1:1/0?sentinel_password=secret", "sentinel credentials are only for redis+sentinel://"),
        ("redis+cluster://127.0.0.1:port", "the port is not a number from 1 to 65535"),
    ],
)
def test_an_invalid_url_is_refused(url: str, problem: str) -> None:
    with pytest.raises(RedisUrlError) as caught:
        make_redis_engine(url, "bus", SystemClock(), TopicConfig())
    assert str(caught.value) == problem


def test_a_wrong_url_is_one_line_at_the_start() -> None:
    status, out, err = try_to_start("--engine", "redis", "--redis-url", "redis://:sec/ret@127.0.0.1/0")
    assert (status, out, err) == (WRONG_SETTING, "", "duebus: redis_url: the database is not a number\n")


def test_certificates_that_are_missing_are_named(tmp_path: Path) -> None:
    with pytest.raises(RedisUrlError, match=f"ssl_ca_certs: no such file: {tmp_path}/missing.pem"):
        make_redis_engine(f"rediss://h/0?ssl_ca_certs={tmp_path}/missing.pem", "bus", SystemClock(), TopicConfig())


@pytest.mark.parametrize(
    ("query", "problem"),
    [
        ("ssl_ca_certs={none}", "ssl_ca_certs: holds no certificate: {none}"),
        ("ssl_ca_certs={key}", "ssl_ca_certs: holds no certificate: {key}"),
        ("ssl_keyfile={key}", "ssl_keyfile: needs ssl_certfile"),
        ("ssl_certfile={none}", "ssl_certfile, ssl_keyfile: not a certificate and its key: {none} alone"),
        (
            "ssl_certfile={ca}&ssl_keyfile={key}",
            "ssl_certfile, ssl_keyfile: not a certificate and its key: {ca} and {key}",
        ),
    ],
)
@pytest.mark.parametrize("scheme", ["rediss://h/0", "redis+cluster://h/", "redis+sentinel://h:1/s"])
def test_files_that_are_not_certificates_are_named(tmp_path: Path, scheme: str, query: str, problem: str) -> None:
    made = make_certificates(tmp_path)
    (tmp_path / "none.pem").write_text("no certificate")
    files = {"none": tmp_path / "none.pem", "ca": made.ca, "key": made.server_key}
    with pytest.raises(RedisUrlError) as caught:
        make_redis_engine(f"{scheme}?{query.format(**files)}", "bus", SystemClock(), TopicConfig())
    assert str(caught.value) == problem.format(**files)


async def test_a_server_that_is_not_redis_is_refused(start_server: Callable[..., ServerProcess]) -> None:
    async with redis_bus(f"redis://{start_server().address}/0") as bus:
        with pytest.raises(DispatcherNotWorking, match=r"engine redis: "):
            await bus.replica()


@pytest.mark.parametrize("version", ["5.0.14", "6.0.20"])
async def test_a_redis_that_is_too_old_is_refused(bus: RedisBus, monkeypatch: pytest.MonkeyPatch, version: str) -> None:
    engine = bus.make()

    async def info() -> dict[str, str]:
        return {"redis_version": version}

    monkeypatch.setattr(engine._engine._runner.connection.redis, "info", info)
    with pytest.raises(DispatcherNotWorking, match=rf"this Redis is {version[:3]}, at least 6.2 is needed"):
        await engine.start()


@pytest.mark.parametrize(
    ("policy", "warned"),
    [("noeviction", False), ("volatile-lru", False), ("allkeys-lru", True), ("allkeys-random", True)],
)
async def test_a_policy_that_drops_events_causes_a_warning(
    start_redis: Callable[..., RedisServer], policy: str, warned: bool
) -> None:
    async with redis_bus(start_redis("--maxmemory-policy", policy).url) as bus:
        with capture_logs() as logs:
            await bus.replica()
    assert [line["policy"] for line in logs if "maxmemory-policy noeviction" in line["event"]] == [policy] * warned


async def test_calls_beyond_the_number_of_connections_wait_for_one(topic: TopicDriver) -> None:
    # A call waits a second, which a slow machine needs for a few hundred.
    calls = 2 * MAX_CONNECTIONS
    await topic.join()
    await topic.dispatch(*new_events(calls))
    found = await asyncio.gather(*(topic.lease_batch(max_events=1) for _ in range(calls)))
    assert sum(len(batch.events) for batch in found) == calls


async def test_a_server_that_did_not_start_leaves_no_connection(bus: RedisBus) -> None:
    bus.raw.hset(f"{bus.namespace}:{{{bus.namespace}:layout}}:replicas", "not", "ours")
    engine = bus.make()
    with pytest.raises(DispatcherNotWorking, match="wrong type"):
        await engine.start()
    connection = engine._engine._runner.connection
    await engine.stop()
    assert not any(one.is_connected for one in connection.redis.connection_pool._available_connections)
    assert [link.connection for link in connection.scripts._links.values()] == [None]
