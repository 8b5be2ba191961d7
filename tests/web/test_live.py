"""The stream behind the page: all topics and schedules that the caller may see, then what changes."""

from __future__ import annotations

import json
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from duebus import Client
from support.builders import unique_name
from support.secured import make_secured
from support.web import Web

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from support.server_process import ServerProcess

WEB = ("--web-listen", "127.0.0.1:0")
RULES = """
[[rule]]
identity = "ops"
verbs = ["admin", "dispatch"]
topics = ["*"]

[[rule]]
identity = "viewer"
verbs = ["view"]
topics = ["order.*"]
"""


@contextmanager
def stream(url: str, **headers: str) -> Iterator[Iterator[dict[str, Any]]]:
    """The messages of a stream."""
    web = Web(url)
    web.connection.request("GET", "/events", headers=headers)
    response = web.connection.getresponse()
    assert response.status == 200
    yield (json.loads(line.removeprefix(b"data: ")) for line in response if line.startswith(b"data: "))
    web.connection.close()


def until(messages: Iterator[dict[str, Any]], holds: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    return next(message for message in messages if holds(message))


def put(web: Web, name: str, topic: str, **rule: Any) -> None:
    schedule = {"name": name, "topic": topic, "event": {"data": "c2VjcmV0"}, **(rule or {"every": "3600s"})}
    answer = web.call("EventBusSchedules/PutSchedule", schedule=schedule)
    assert answer.status == 200, answer.body


def names(message: dict[str, Any]) -> list[str]:
    return [each["info"]["schedule"]["name"] for each in message["schedules"]]


def test_a_schedule_is_reported_when_it_is_put_fired_and_deleted(each_engine: ServerProcess) -> None:
    web, name, topic = Web(each_engine.web), unique_name("schedule"), unique_name()
    with stream(each_engine.web) as messages:
        assert next(messages)["first"]
        put(web, name, topic, every="1s")
        message = until(messages, lambda message: name in names(message))
        [info] = [each["info"] for each in message["schedules"] if each["info"]["schedule"]["name"] == name]
        assert info["description"] == "every second"
        assert "event" not in info["schedule"]
        until(messages, lambda message: any(int(each["info"].get("runs", 0)) for each in message["schedules"]))
        assert web.call("EventBusSchedules/DeleteSchedule", name=name).status == 200
        until(messages, lambda message: [each_engine.engines[0], topic, name] in message["removed"])
    with stream(each_engine.web) as messages:
        assert name not in names(next(messages))


def test_a_caller_sees_what_it_may(start_server: Callable[..., ServerProcess], tmp_path: Path) -> None:
    secured = make_secured(tmp_path, "ops", "viewer")
    server = start_server(*WEB, *secured.token_flags(), *secured.acl_flags(RULES))
    ops = {"Authorization": f"Bearer {secured.tokens['ops']}"}
    web = Web(server.web, headers=ops)
    put(web, "seen", "order.report")
    put(web, "hidden", "payment.report")
    with Client(server.address, token=secured.tokens["ops"]) as client:
        for topic in ("order.created", "payment.made"):
            client.dispatch(topic, 1)
    with stream(server.web, Authorization=f"Bearer {secured.tokens['viewer']}") as messages:
        message = next(messages)
        assert names(message) == ["seen"]
        assert {each["topic"] for each in message["topics"]} <= {"order.created", "order.report"}
        for name in ("hidden", "seen"):
            assert web.call("EventBusSchedules/DeleteSchedule", name=name).status == 200
        message = until(messages, lambda message: message["removed"] != [])
        assert message["removed"] == [["local", "order.report", "seen"]]
        assert not [each for each in message["topics"] if each["topic"].startswith("payment")]
