"""The OpenAPI document: it is valid, describes the contract as it is, and the server's answers agree with it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from duebus.v1 import admin_pb2, event_bus_pb2, schedules_pb2
from openapi_schema_validator import OAS31Validator
from openapi_spec_validator import validate

if TYPE_CHECKING:
    from duebus import Client
    from support.web import Web

FILES = (event_bus_pb2.DESCRIPTOR, admin_pb2.DESCRIPTOR, schedules_pb2.DESCRIPTOR)
METHODS = [
    method
    for file in FILES
    for service in file.services_by_name.values()
    for method in service.methods
    if not method.server_streaming
]


@pytest.fixture
def document(web: Web) -> Any:
    answer = web.ask("GET", "/openapi.json")
    assert (answer.status, answer.headers["Content-Type"]) == (200, "application/json")
    return answer.json


def test_it_is_valid(document: Any) -> None:
    validate(document)


def test_it_has_every_unary_rpc_and_the_paths_for_events(document: Any) -> None:
    rpcs = {f"/{method.containing_service.full_name}/{method.name}" for method in METHODS}
    assert {path for path in document["paths"] if not path.startswith("/v1/")} == rpcs
    for operation in (path["post"] for path in document["paths"].values()):
        assert operation["description"]


def test_it_has_every_field_of_every_message(document: Any) -> None:
    for file in FILES:
        for message in file.message_types_by_name.values():
            described = document["components"]["schemas"][message.full_name]["properties"]
            assert list(described) == [field.json_name for field in message.fields], "run `make proto`"


def test_answers_agree_with_it(web: Web, client: Client, document: Any, topic: str) -> None:
    def agrees(name: str, content: Any) -> None:
        OAS31Validator({**document, "$ref": f"#/components/schemas/{name}"}).validate(content)

    with client.subscribe(topic, group="g"):
        dispatched = web.call("EventBus/Dispatch", topic=topic, events=[{"id": "a", "delay": "60s", "data": "AA=="}])
        agrees("duebus.v1.DispatchResponse", dispatched.json)
        agrees("duebus.v1.GetTopicResponse", web.call("EventBusAdmin/GetTopic", topic=topic).json)
    answer = web.post(f"/v1/topics/{topic}/events", b"x")
    agrees("duebus.v1.DispatchResponse", answer.json)
    pulled = web.post(f"/v1/topics/{topic}/groups/g:pull?wait=30s").json  # the subscription may have been handed it
    assert pulled["deliveries"]
    agrees("duebus.v1.Deliveries", pulled)
    listed = web.call("EventBusAdmin/ListEvents", topic=topic, group="g", state="EVENT_STATE_SCHEDULED")
    assert listed.json["events"]
    agrees("duebus.v1.ListEventsResponse", listed.json)
    agrees("duebus.v1.GetEventResponse", web.call("EventBusAdmin/GetEvent", topic=topic, eventId="a").json)
    agrees("Error", web.call("EventBusAdmin/GetEvent", topic=topic, eventId="b").json)
    with pytest.raises(Exception, match="is not of type 'array'"):
        agrees("duebus.v1.DispatchResponse", {"eventIds": 1})


def test_it_can_only_be_read(web: Web) -> None:
    answer = web.post("/openapi.json")
    assert (answer.status, answer.json["message"]) == (405, f"only {answer.headers['Allow']}")
    assert "GET" in answer.headers["Allow"]
