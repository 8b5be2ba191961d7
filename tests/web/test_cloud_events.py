"""CloudEvents over HTTP: binary, structured and batched.

The examples are those of the specification and of its conformance tests (https://github.com/cloudevents/conformance).
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Sequence

    from duebus import Client, Delivery
    from support.web import Web

STRUCTURED = {"Content-Type": "application/cloudevents+json; charset=utf-8"}
BATCH = {"Content-Type": "application/cloudevents-batch+json"}

BINARY_EXAMPLE = {
    "ce-specversion": "1.0",
    "ce-type": "com.example.someevent",
    "ce-time": "2018-04-05T03:56:24Z",
    "ce-id": "4321-4321-4321-a",
    "ce-source": "/mycontext/subcontext",
    "Content-Type": "application/json",
}
EXAMPLE = {
    "specversion": "1.0",
    "type": "com.github.pull_request.opened",
    "source": "https://github.com/cloudevents/spec/pull",
    "subject": "123",
    "id": "A234-1234-1234",
    "time": "2018-04-05T17:31:00Z",
    "comexampleextension1": "value",
    "comexampleothervalue": 5,
}
MINIMAL = {"specversion": "1.0", "type": "t", "source": "s", "id": "1"}


def take(client: Client, topic: str, count: int = 1) -> Sequence[Delivery]:
    with client.subscribe(topic) as subscription:
        return [next(subscription) for _ in range(count)]


def test_the_binary_example_of_the_conformance_tests(web: Web, client: Client, topic: str) -> None:
    answer = web.post(f"/v1/topics/{topic}/events", b'{ "message": "Hello World!" }', BINARY_EXAMPLE)
    assert (answer.status, answer.json) == (202, {"eventIds": ["/mycontext/subcontext 4321-4321-4321-a"]})
    [delivery] = take(client, topic)
    assert (delivery.data, delivery.content_type) == (b'{ "message": "Hello World!" }', "application/json")
    assert delivery.attributes == {name: value for name, value in BINARY_EXAMPLE.items() if name != "Content-Type"}


def test_header_values_are_percent_decoded(web: Web, client: Client, topic: str) -> None:
    """The example of section 3.1.3.2 of the HTTP binding."""
    headers = {**BINARY_EXAMPLE, "ce-subject": "Euro%20%E2%82%AC%20%F0%9F%98%80"}
    web.post(f"/v1/topics/{topic}/events", b"", headers)
    [delivery] = take(client, topic)
    assert delivery.attributes["ce-subject"] == "Euro € 😀"


@pytest.mark.parametrize(
    ("members", "data", "content_type"),
    [
        ({"datacontenttype": "text/xml", "data": '<much wow="xml"/>'}, b'<much wow="xml"/>', "text/xml"),
        ({"datacontenttype": "application/json", "data": {"a": "é"}}, '{"a":"é"}'.encode(), "application/json"),
        ({"datacontenttype": "application/vnd.x+json", "data": "text"}, b'"text"', "application/vnd.x+json"),
        ({"data": [1, None]}, b"[1,null]", "application/json"),
        ({"data": 1.5}, b"1.5", "application/json"),
        ({"datacontenttype": "image/png", "data_base64": "AAH/"}, b"\x00\x01\xff", "image/png"),
        ({"data": None}, b"", ""),
        ({}, b"", ""),
    ],
)
def test_the_structured_example_of_the_json_format(
    web: Web, client: Client, topic: str, members: dict[str, Any], data: bytes, content_type: str
) -> None:
    answer = web.post(f"/v1/topics/{topic}/events", json.dumps({**EXAMPLE, **members}), STRUCTURED)
    assert answer.json == {"eventIds": ["https://github.com/cloudevents/spec/pull A234-1234-1234"]}
    [delivery] = take(client, topic)
    assert (delivery.data, delivery.content_type) == (data, content_type)
    assert delivery.attributes == {f"ce-{name}": str(value) for name, value in EXAMPLE.items()}


def test_the_partition_key_is_the_key(web: Web, client: Client, topic: str) -> None:
    web.post(f"/v1/topics/{topic}/events", json.dumps({**MINIMAL, "partitionkey": "customer-1"}), STRUCTURED)
    [delivery] = take(client, topic)
    assert delivery.key == "customer-1"


def test_a_batch_is_stored_as_a_whole(web: Web, client: Client, topic: str) -> None:
    batch = [{**MINIMAL, "id": str(number), "data": number, "flag": True} for number in range(3)]
    answer = web.post(f"/v1/topics/{topic}/events", json.dumps(batch), {**BATCH, "Duebus-Attribute-x": "y"})
    assert answer.json == {"eventIds": ["s 0", "s 1", "s 2"]}
    for number, delivery in enumerate(take(client, topic, 3)):
        assert delivery.data == str(number).encode()
        assert delivery.attributes.items() >= {"ce-id": str(number), "ce-flag": "true", "x": "y"}.items()

    again = [*batch, {**MINIMAL, "id": "3"}]
    assert web.post(f"/v1/topics/{topic}/events", json.dumps(again), BATCH).json["duplicateEventIds"] == [
        "s 0",
        "s 1",
        "s 2",
    ]


def without(name: str) -> dict[str, Any]:
    return {each: value for each, value in MINIMAL.items() if each != name}


@pytest.mark.parametrize(
    ("document", "field"),
    [
        *[(without(name), name) for name in MINIMAL],
        ({**MINIMAL, "specversion": "0.3"}, "specversion"),
        ({**MINIMAL, "id": ""}, "id"),
        ({**MINIMAL, "id": 1.5}, "id"),
        ({**MINIMAL, "source": "a b"}, "source"),
        ({**MINIMAL, "source": "a\nb"}, "source"),
        ({**MINIMAL, "time": "yesterday"}, "time"),
        ({**MINIMAL, "time": "2018-04-05T17:31:00"}, "time"),
        ({**MINIMAL, "Upper": "x"}, "Upper"),
        ({**MINIMAL, "\ud800": "x"}, "\\ud800"),
        ({**MINIMAL, "\ud800": {}}, "\\ud800"),
        ({**MINIMAL, "nested": {}}, "nested"),
        ({**MINIMAL, "large": 1 << 31}, "large"),
        ({**MINIMAL, "subject": ""}, "subject"),
        ({**MINIMAL, "data_base64": "!"}, "data_base64"),
        ({**MINIMAL, "data_base64": 1}, "data_base64"),
        ({**MINIMAL, "data_base64": "AA==", "data": 1}, "data_base64"),
        ({**MINIMAL, "data": "\ud800"}, "data"),
        ({**MINIMAL, "id": "\ud800"}, "id"),
        ({**MINIMAL, "id": "x" * 300}, "events[0].id"),
        (["not", "an", "event"], "request"),
        (1, "request"),
    ],
    ids=lambda value: str(value)[-60:].encode("ascii", "replace").decode(),
)
def test_a_malformed_cloud_event_is_refused_by_its_attribute(web: Web, topic: str, document: Any, field: str) -> None:
    answer = web.post(f"/v1/topics/{topic}/events", json.dumps(document), STRUCTURED)
    assert answer.failure == (400, "invalid_argument", "INVALID_ARGUMENT", field)


@pytest.mark.parametrize(
    ("body", "headers", "field"),
    [
        ('{"specversion": NaN}', STRUCTURED, "request"),
        ("[" * 100_000, BATCH, "request"),
        (json.dumps(MINIMAL), BATCH, "request"),
        ("[1]", BATCH, "events[0]"),
        (json.dumps([MINIMAL, without("type")]), BATCH, "events[1].type"),
        (json.dumps([MINIMAL] * 1001), BATCH, "events"),
        ("[]", BATCH, "events"),
        ("{}", {"Content-Type": "application/cloudevents+xml"}, "content-type"),
        ("{}", {"Content-Type": "application/cloudevents+json; charset=latin-1"}, "content-type"),
        ("", {"ce-id": "1"}, "specversion"),
        ("", {**BINARY_EXAMPLE, "ce-subject": "%FF"}, "ce-subject"),
        ("", {**BINARY_EXAMPLE, "ce-data": "x"}, "data"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_malformed_request_is_refused(web: Web, topic: str, body: str, headers: dict[str, str], field: str) -> None:
    status, code, _, named = web.post(f"/v1/topics/{topic}/events", body, headers).failure
    assert (status, code, named) == (400, "invalid_argument", field)
    assert web.call("EventBusAdmin/GetTopic", topic=topic).status == 404, "nothing is stored"
