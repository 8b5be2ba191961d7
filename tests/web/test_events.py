"""Events of any media type over HTTP: what is not in the payload is in headers."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from duebus import Client
    from support.web import Web


def test_a_payload_is_delivered_as_it_was_sent(web: Web, client: Client, topic: str) -> None:
    payload = bytes(range(256))
    headers = {
        "Content-Type": "image/png; x=1",
        "Duebus-Id": "chosen",
        "Duebus-Key": "order-42",
        "Duebus-Attribute-Trace-Id": "é".encode(),
    }
    answer = web.post(f"/v1/topics/{topic}/events", payload, headers)
    assert (answer.status, answer.json) == (202, {"eventIds": ["chosen"]})
    with client.subscribe(topic) as subscription:
        delivery = next(subscription)
    assert (delivery.event_id, delivery.data, delivery.content_type) == ("chosen", payload, "image/png; x=1")
    assert (delivery.key, delivery.attributes) == ("order-42", {"trace-id": "é"})


@pytest.mark.parametrize("header", ["Duebus-Delay", "Duebus-Deliver-At"])
def test_an_event_can_be_for_later(web: Web, client: Client, topic: str, header: str) -> None:
    now, ahead = datetime.now(UTC), timedelta(minutes=90)
    value = "1h30m" if header == "Duebus-Delay" else (now + ahead).isoformat()
    [event_id] = web.post(f"/v1/topics/{topic}/events", b"x", {header: value}).json["eventIds"]
    [group] = client.admin.get_event(topic, event_id).groups
    assert group.state == "scheduled"
    assert group.deliver_at is not None
    assert abs(group.deliver_at - now - ahead) < timedelta(minutes=5)


def test_an_event_can_have_a_priority(web: Web, client: Client, topic: str) -> None:
    for name, priority in (("late", "-60"), ("first", "60"), ("second", "0")):
        headers = {"Duebus-Id": name, "Duebus-Priority": priority}
        assert web.post(f"/v1/topics/{topic}/events", b"x", headers).status == 202
    with client.subscribe(topic, max_in_flight=1) as subscription:
        for expected in ("first", "second", "late"):
            delivery = next(subscription)
            assert delivery.event_id == expected
            client.ack(delivery)
    for wrong in ("high", "1.5", "", "9" * 30):
        answer = web.post(f"/v1/topics/{topic}/events", b"x", {"Duebus-Priority": wrong})
        assert answer.failure[3] == "duebus-priority"


def test_a_repeated_request_adds_nothing(web: Web, topic: str) -> None:
    first, second = (
        web.post(f"/v1/topics/{topic}/events", b"x", {"Idempotency-Key": "request"}).json for _ in range(2)
    )
    assert first == second
    assert web.post(f"/v1/topics/{topic}/events", b"x", {"Duebus-Id": "a"}).json == {"eventIds": ["a"]}
    repeated = web.post(f"/v1/topics/{topic}/events", b"x", {"Duebus-Id": "a"}).json
    assert repeated == {"eventIds": ["a"], "duplicateEventIds": ["a"]}


@pytest.mark.parametrize(
    ("headers", "field"),
    [
        ({"Duebus-Delay": "5"}, "duebus-delay"),
        ({"Duebus-Delay": "99999d"}, "duebus-delay"),
        ({"Duebus-Delay": "9" * 400 + "d"}, "duebus-delay"),
        ({"Duebus-Deliver-At": "tomorrow"}, "duebus-deliver-at"),
        ({"Duebus-Deliver-At": "9999-01-01T00:00:00Z"}, "events[0].deliver_at"),
        ({"Duebus-Delay": "1s", "Duebus-Deliver-At": "2030-01-01T00:00:00Z"}, "duebus-deliver-at"),
        ({"Duebus-Dalay": "5s"}, "duebus-dalay"),
        ({"Duebus-Id": b"\xff"}, "duebus-id"),
        ({"Duebus-Id": "x" * 300}, "events[0].id"),
        ({"Duebus-Key": "x" * 300}, "events[0].key"),
        ({"Duebus-Attribute-": "x"}, "events[0].attributes"),
        ({"Idempotency-Key": "x" * 300}, "request_id"),
    ],
    ids=lambda value: str(value)[:50],
)
def test_a_wrong_header_is_refused_by_its_name(web: Web, topic: str, headers: dict[str, Any], field: str) -> None:
    answer = web.post(f"/v1/topics/{topic}/events", b"x", headers)
    assert answer.failure == (400, "invalid_argument", "INVALID_ARGUMENT", field)
    assert web.call("EventBusAdmin/GetTopic", topic=topic).status == 404, "nothing is stored"


def test_a_compressed_event_is_refused(web: Web, topic: str) -> None:
    answer = web.post(f"/v1/topics/{topic}/events", b"x", {"Content-Encoding": "gzip"})
    assert answer.failure[:2] == (501, "unimplemented")


def test_a_header_that_is_given_twice_is_refused(web: Web, topic: str) -> None:
    web.connection.putrequest("POST", f"/v1/topics/{topic}/events")
    for value in ("1s", "2s"):
        web.connection.putheader("Duebus-Delay", value)
    web.connection.endheaders()
    response = web.connection.getresponse()
    assert (response.status, b"duebus-delay: is given twice" in response.read()) == (400, True)


@pytest.mark.parametrize("name", ["-bad", "%C3%BC", "a%0Ab", "x" * 300])
def test_a_topic_that_is_no_name_is_refused(web: Web, name: str) -> None:
    assert web.post(f"/v1/topics/{name}/events", b"x").failure[3] == "topic"
