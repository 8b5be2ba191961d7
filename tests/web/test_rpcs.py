"""Every unary RPC over HTTP, as JSON and as protobuf, and how a request that is wrong is refused."""

from __future__ import annotations

import base64
import gzip
from typing import TYPE_CHECKING, Any

import pytest
from duebus.v1 import admin_pb2, event_bus_pb2
from support.web import JSON, Web

if TYPE_CHECKING:
    from collections.abc import Callable

    from duebus import Client
    from support.server_process import ServerProcess

DISPATCH = "/duebus.v1.EventBus/Dispatch"
SERVICES = (
    event_bus_pb2.DESCRIPTOR.services_by_name["EventBus"],
    admin_pb2.DESCRIPTOR.services_by_name["EventBusAdmin"],
)


def events(*ids: str) -> list[dict[str, str]]:
    return [{"id": event_id} for event_id in ids]


def test_an_event_dispatched_as_json_is_delivered(web: Web, client: Client, topic: str) -> None:
    data = base64.b64encode(b"\x00payload").decode()
    answer = web.call(
        "EventBus/Dispatch",
        topic=topic,
        events=[{"id": "a", "data": data, "attributes": {"x": "y"}, "delay": "0.001s"}],
    )
    assert (answer.status, answer.json) == (200, {"eventIds": ["a"]})
    with client.subscribe(topic) as subscription:
        delivery = next(subscription)
        assert (delivery.event_id, delivery.data, delivery.attributes) == ("a", b"\x00payload", {"x": "y"})
        answer = web.call("EventBus/Ack", leaseTokens=[delivery.lease_token, "unknown"])
    assert answer.json == {"failures": [{"leaseToken": "unknown", "reason": "REASON_MALFORMED"}]}


METHODS = [method for service in SERVICES for method in service.methods if method.name != "Stop"]


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_every_unary_rpc_has_a_path(web: Web, method: Any) -> None:
    status = web.post(f"/{method.containing_service.full_name}/{method.name}", {}).status
    assert status == 404 if method.server_streaming else status in (200, 400)


def test_a_request_in_protobuf_is_answered_in_protobuf(web: Web, topic: str) -> None:
    request = event_bus_pb2.DispatchRequest(topic=topic, events=[event_bus_pb2.Event(id="a")])
    answer = web.post(DISPATCH, request.SerializeToString(), {"Content-Type": "application/proto"})
    assert answer.headers["Content-Type"] == "application/proto"
    assert event_bus_pb2.DispatchResponse.FromString(answer.body).event_ids == ["a"]


def test_a_connection_is_kept_open_for_the_next_request(web: Web, topic: str) -> None:
    web.call("EventBus/Dispatch", topic=topic, events=events("a"))
    socket = web.connection.sock
    assert socket is not None
    web.call("EventBus/Dispatch", topic=topic)  # refused
    web.call("EventBus/Dispatch", topic=topic, events=events("b"))
    assert web.connection.sock is socket


def test_stop_drains_the_server(start_server: Callable[..., ServerProcess]) -> None:
    server = start_server("--web-listen", "127.0.0.1:0")
    assert Web(server.web).call("EventBus/Stop").json == {"engines": [{"engine": "ENGINE_LOCAL"}]}
    assert server.wait() == 0


DEEP = b'{"events":' * 10_000


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (b'{"topic": "t"', "request"),
        (b"\xff", "request"),
        (b"[]", "request"),
        (b'{"nothing": 1}', "request"),
        (b'{"topic": 1}', "topic"),
        (b'{"topic": "\\ud800"}', "topic"),
        (b'{"topic": "t", "events": [{}, {"maxRetries": "many"}]}', "events.maxRetries"),
        (b'{"topic": "t", "events": [{"delay": "1"}]}', "events[0].delay"),
        (b'{"topic": "t", "topic": "u"}', "request"),
        (b'{"topic": "t", "events": [{"maxRetries": 1' + b"0" * 5_000 + b"}]}", "request"),
        (b'{"topic": "t", "events": [{"data": "{\\"id\\": 42}"}]}', "events[0].data"),
        (b'{"topic": "t", "events": [{"maxRetries": 1e999}]}', "events[0].maxRetries"),
        (DEEP, "request"),
        (b'{"topic": "t"}', "events"),
        (b'{"topic": "t", "events": [{"delay": "-1s"}]}', "events[0].delay"),
        (b"", "topic"),
    ],
    ids=lambda value: repr(value[:50]),
)
def test_a_malformed_request_is_refused_and_names_the_field(web: Web, body: bytes, field: str) -> None:
    status, code, reason, named = web.post(DISPATCH, body, JSON).failure
    assert (status, code, named) == (400, "invalid_argument", field)
    assert reason in ("INVALID_ARGUMENT", "NO_TOPIC_SPECIFIED", "NO_EVENT_SPECIFIED")


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({"Content-Type": "text/plain"}, (415, "unknown")),
        ({}, (415, "unknown")),
        ({**JSON, "Content-Encoding": "gzip"}, (501, "unimplemented")),
    ],
)
def test_other_content_is_refused(web: Web, headers: dict[str, str], expected: tuple[int, str]) -> None:
    assert web.post(DISPATCH, gzip.compress(b"{}"), headers).failure[:2] == expected


def test_another_method_or_path_is_refused(web: Web) -> None:
    answer = web.ask("GET", DISPATCH)
    assert (answer.status, answer.headers["Allow"], answer.json["code"]) == (405, "POST", "unimplemented")
    assert web.post("/duebus.v1.EventBus/Nothing", {}).failure[:2] == (404, "unimplemented")


def test_a_missing_topic_is_not_found(web: Web, topic: str) -> None:
    assert web.call("EventBusAdmin/GetTopic", topic=topic).failure == (404, "not_found", "NOT_FOUND", "")


def test_a_full_topic_says_when_to_try_again(start_server: Callable[..., ServerProcess]) -> None:
    web = Web(start_server("--web-listen", "127.0.0.1:0", "--max-queued", "1").web)
    web.call("EventBus/Dispatch", topic="t", events=events("a"))
    answer = web.call("EventBus/Dispatch", topic="t", events=events("b"))
    assert answer.failure[:3] == (429, "resource_exhausted", "MAX_QUEUED_EVENTS_REACHED")
    assert int(answer.headers["Retry-After"]) >= 1


def test_a_body_that_is_too_large_is_refused(start_server: Callable[..., ServerProcess]) -> None:
    server = start_server("--web-listen", "127.0.0.1:0", "--max-message-size", "64KiB")
    announced = Web(server.web)
    announced.connection.putrequest("POST", DISPATCH)
    announced.connection.putheader("Content-Type", "application/json")
    announced.connection.putheader("Content-Length", str(1 << 40))
    announced.connection.endheaders()  # the body never comes
    response = announced.connection.getresponse()
    assert (response.status, b"too large" in response.read()) == (400, True)

    chunks = (b" " * 1_000 for _ in range(100))
    answer = Web(server.web).post(DISPATCH, chunks, JSON)
    assert answer.failure == (400, "invalid_argument", "INVALID_ARGUMENT", "request")
    assert "too large" in answer.json["message"]


def test_a_client_that_is_gone_before_its_body_has_come_is_no_error(web: Web, server: ServerProcess) -> None:
    web.connection.putrequest("POST", DISPATCH)
    for name, value in {**JSON, "Content-Length": "1000000"}.items():
        web.connection.putheader(name, value)
    web.connection.endheaders()
    web.connection.close()
    assert Web(server.web).call("EventBus/Dispatch").status == 400  # the fixture reads the log


def test_a_large_answer_is_compressed_if_the_client_takes_that(web: Web, topic: str) -> None:
    web.call("EventBus/Dispatch", topic=topic, events=events(*map(str, range(100))))
    request = {"topic": topic, "state": "EVENT_STATE_READY"}
    plain = web.post("/duebus.v1.EventBusAdmin/ListEvents", request)
    small = web.post("/duebus.v1.EventBusAdmin/ListEvents", request, {"Accept-Encoding": "gzip"})
    assert (plain.headers["Content-Encoding"], small.headers["Content-Encoding"]) == (None, "gzip")
    assert gzip.decompress(small.body) == plain.body
    assert len(plain.json["events"]) == 100


def test_a_connection_is_kept_after_errors(web: Web, topic: str) -> None:
    web.connection.connect()
    socket = web.connection.sock
    for _ in range(3):
        assert web.post(DISPATCH, b"{", JSON).status == 400
        assert web.call("EventBus/Dispatch", topic=topic, events=events("a")).status == 200
    assert web.connection.sock is socket
