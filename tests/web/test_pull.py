"""Pull: due events for programs without a stream, whose leases belong to no stream and to no replica."""

from __future__ import annotations

import base64
import socket
import struct
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest
from duebus import Client, NewEvent
from support.builders import unique_name
from support.redis_engine import redis_flags
from support.secured import rule
from support.server_process import ServerProcess, assert_untroubled
from support.web import WEB, Guarded, Web

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@pytest.fixture(scope="module", params=["local", "redis"])
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    flags = redis_flags() if request.param == "redis" else ()
    log = tmp_path_factory.mktemp("pull") / "server.log"
    server = ServerProcess(log, *WEB, *flags)
    yield server
    server.close()
    assert_untroubled(log.read_text())


def pull(web: Web, topic: str, query: str = "", group: str = "g") -> list[dict[str, Any]]:
    answer = web.post(f"/v1/topics/{topic}/groups/{group}:pull{query and '?'}{query}")
    assert answer.status == 200, answer.body
    deliveries: list[dict[str, Any]] = answer.json["deliveries"]
    return deliveries


def ids(deliveries: list[dict[str, Any]]) -> list[str]:
    return [each["event"]["id"] for each in deliveries]


def dispatch(client: Client, topic: str, *event_ids: str) -> None:
    client.dispatch_many(topic, [NewEvent(data=each, id=each) for each in event_ids])


def test_events_are_pulled_extended_nacked_and_acked(web: Web, client: Client, topic: str) -> None:
    dispatch(client, topic, "a", "b", "c")
    first = pull(web, topic, "max=2&lease=30s&consumer=script")
    assert ids(first) == ["a", "b"]
    assert base64.b64decode(first[0]["event"]["data"]) == b"a"
    assert (first[0]["topic"], first[0]["group"], first[0]["attempt"]) == (topic, "g", 1)
    [group] = client.admin.get_event(topic, "a").groups
    assert (group.state, group.consumer) == ("leased", "script")
    tokens = [each["leaseToken"] for each in first]
    assert web.call("EventBus/Extend", leaseTokens=tokens, lease="3600s").json == {}
    [group] = client.admin.get_event(topic, "a").groups
    assert group.lease_expires_at is not None
    assert group.lease_expires_at > datetime.now(UTC) + timedelta(minutes=50)
    assert web.call("EventBus/Ack", leaseTokens=tokens[:1]).json == {}
    assert web.call("EventBus/Nack", nacks=[{"leaseToken": tokens[1], "delay": "0s", "error": "no"}]).json == {}
    again = {each["event"]["id"]: each for each in pull(web, topic, "wait=10s") + pull(web, topic)}
    assert again.keys() == {"b", "c"}
    assert (again["b"]["attempt"], again["b"]["lastError"]) == (2, "no")
    assert client.admin.get_topic(topic).groups[0].subscribers == ()


def test_a_pull_waits_for_an_event_and_no_longer_than_it_says(web: Web, server: ServerProcess, topic: str) -> None:
    began = time.monotonic()
    assert pull(web, topic) == []
    assert pull(web, topic, "wait=300ms") == []
    assert time.monotonic() - began >= 0.3
    web.post(f"/v1/topics/{topic}/events", b"x", {"Duebus-Id": "a", "Duebus-Delay": "200ms"})
    began = time.monotonic()
    assert ids(pull(web, topic, "wait=30s")) == ["a"]
    assert time.monotonic() - began < 20


def test_a_lease_that_runs_out_brings_the_event_again(web: Web, client: Client, topic: str) -> None:
    dispatch(client, topic, "a")
    pull(web, topic, "lease=200ms")
    [again] = pull(web, topic, "wait=30s")
    assert (again["event"]["id"], again["attempt"]) == ("a", 2)


def begun(web: Web, path: str, receive_buffer: int = 0) -> socket.socket:
    """A connection on which a pull was sent."""
    address = urlsplit(f"http://{web.connection.host}:{web.connection.port}")
    connection = socket.socket()
    if receive_buffer:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    connection.connect((address.hostname, address.port))
    connection.sendall(f"POST {path} HTTP/1.1\r\nHost: {address.netloc}\r\nContent-Length: 0\r\n\r\n".encode())
    return connection


def reset(connection: socket.socket) -> None:
    """Close a connection as a process that dies with unread data does."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def until(condition: Callable[[], bool]) -> None:
    """Ask until it holds."""
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline


def test_a_client_that_goes_away_while_it_waits_gets_nothing(web: Web, client: Client, topic: str) -> None:
    waiting = begun(web, f"/v1/topics/{topic}/groups/g:pull?wait=30s&lease=1h")
    until(lambda: any(each.topic == topic and each.groups[0].subscribers for each in client.admin.list_topics()))
    waiting.close()
    until(lambda: not client.admin.get_topic(topic).groups[0].subscribers)
    dispatch(client, topic, "a")
    [delivery] = pull(web, topic)
    assert delivery["attempt"] == 1


def test_an_answer_that_can_not_be_written_releases_its_events(web: Web, client: Client, topic: str) -> None:
    client.dispatch_many(topic, [NewEvent(data=bytes(1_000_000), id=each) for each in "abc"])
    connection = begun(web, f"/v1/topics/{topic}/groups/g:pull?wait=30s&lease=1h", receive_buffer=4_096)
    assert connection.recv(12) == b"HTTP/1.1 200"  # the rest of the 4 MB does not fit into the buffers
    reset(connection)
    [delivery, *_] = pull(web, topic, "wait=30s")
    assert delivery["attempt"] == 1  # a release does not count


def test_leases_outlast_a_replica_and_those_of_its_streams_do_not(start_server: Callable[..., ServerProcess]) -> None:
    flags = (*WEB, *redis_flags())
    first, other = start_server(*flags), start_server(*flags)
    topic, survivor = unique_name(), Web(other.web)
    with Client(first.address) as client:
        dispatch(client, topic, "pulled")
        [pulled] = pull(Web(first.web), topic, "lease=60s")
        with client.subscribe(topic, group="g") as subscription:
            dispatch(client, topic, "streamed")
            assert next(subscription).event_id == "streamed"
            first.kill()
            assert ids(pull(survivor, topic, "wait=30s")) == ["streamed"]
    assert survivor.call("EventBus/Ack", leaseTokens=[pulled["leaseToken"]]).json == {}


def test_leases_outlast_a_stop_and_a_start_on_the_journal(
    start_server: Callable[..., ServerProcess], tmp_path: Path
) -> None:
    flags = (*WEB, "--data-dir", str(tmp_path / "data"))
    server = start_server(*flags)
    topic = unique_name()
    with Client(server.address) as client:
        dispatch(client, topic, "a")
    [pulled] = pull(Web(server.web), topic, "lease=1h")
    assert server.terminate() == 0
    assert "released=0" in server.log.read_text()
    again = start_server(*flags)
    with Client(again.address) as client:
        [group] = client.admin.get_event(topic, "a").groups
        assert group.lease_expires_at is not None
        assert group.lease_expires_at > datetime.now(UTC) + timedelta(minutes=50)
    assert Web(again.web).call("EventBus/Ack", leaseTokens=[pulled["leaseToken"]]).json == {}


def test_a_stop_ends_a_pull_that_waits(start_server: Callable[..., ServerProcess]) -> None:
    server = start_server(*WEB)
    web = Web(server.web)
    waiting = begun(web, "/v1/topics/t/groups/g:pull?wait=30s")
    with Client(server.address) as client:
        until(lambda: any(each.groups[0].subscribers for each in client.admin.list_topics()))
    began = time.monotonic()
    assert server.terminate() == 0
    assert time.monotonic() - began < 20
    assert b'{"deliveries":[]}' in waiting.recv(65_536)


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("max=0", "max"),
        ("max=501", "max"),
        ("max=many", "max"),
        ("wait=31s", "wait"),
        ("wait=-1s", "wait"),
        ("lease=1ms", "lease"),
        ("lease=soon", "lease"),
        ("max=1&max=2", "query"),
        ("maximum=1", "maximum"),
    ],
)
def test_a_wrong_parameter_is_named(web: Web, query: str, field: str) -> None:
    answer = web.post(f"/v1/topics/t/groups/g:pull?{query}")
    assert answer.failure == (400, "invalid_argument", "INVALID_ARGUMENT", field)


def test_a_wrong_name_or_a_body_is_refused(web: Web) -> None:
    assert web.post("/v1/topics/t/groups/g%20:pull").failure[3] == "group"
    assert web.post("/v1/topics/t/groups/g:pull", b"{}").failure[3] == "request"


def test_a_pull_needs_the_right_to_subscribe(guarded: Callable[..., Guarded]) -> None:
    rules = rule("shop", "dispatch", topics="order.*") + rule("billing", "subscribe", topics="order.*")
    bus = guarded("shop", "billing", rules=rules)
    callers = [bus.web("shop"), bus.web("billing"), Web(bus.server.web)]
    assert [web.post("/v1/topics/order.created/groups/g:pull").status for web in callers] == [403, 200, 401]
