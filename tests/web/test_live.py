"""The stream behind the page: all topics and schedules that the caller may see, then what changes."""

from __future__ import annotations

import asyncio
import json
from contextlib import aclosing, asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Any, cast

from duebus_server.bus.engines import Engines, EngineStatus, RunningEngine
from duebus_server.domain.clock import SystemClock
from duebus_server.domain.views import TopicConfig
from duebus_server.web import live
from duebus_server.wire.schedule_codec import ScheduleCodec
from support.builders import unique_name
from support.engines import local
from support.secured import rule
from support.topics import TopicDriver
from support.web import Guarded, Web, bearer
from support.wire import SIGNAL_TIMEOUT_S

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
    from pathlib import Path

    import pytest
    from duebus_server.engine.base import Engine
    from duebus_server.web.live import Message
    from support.server_process import ServerProcess

RULES = rule("ops", "admin", "dispatch") + rule("viewer", "view", topics="order.*")


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


def test_a_caller_sees_what_it_may(guarded: Callable[..., Guarded]) -> None:
    bus = guarded("ops", "viewer", rules=RULES)
    web = bus.web("ops")
    put(web, "seen", "order.report")
    put(web, "hidden", "payment.report")
    with bus.client("ops") as client:
        for topic in ("order.created", "payment.made"):
            client.dispatch(topic, 1)
    with stream(bus.server.web, **bearer(bus.token("viewer"))) as messages:
        message = next(messages)
        assert names(message) == ["seen"]
        assert {each["topic"] for each in message["topics"]} <= {"order.created", "order.report"}
        for name in ("hidden", "seen"):
            assert web.call("EventBusSchedules/DeleteSchedule", name=name).status == 200
        message = until(messages, lambda message: message["removed"] != [])
        assert message["removed"] == [["local", "order.report", "seen"]]
        assert not [each for each in message["topics"] if each["topic"].startswith("payment")]


def test_a_stream_ends_when_the_rules_change(guarded: Callable[..., Guarded], tmp_path: Path) -> None:
    """The page connects again at once. Otherwise it would go on to show what its caller may no longer see."""
    bus = guarded("ops", "viewer", rules=RULES)
    viewer = bearer(bus.token("viewer"))
    with bus.client("ops") as client:
        client.dispatch("order.created", 1)
        client.dispatch("payment.made", 1)
        with stream(bus.server.web, **viewer) as messages:
            assert [each["topic"] for each in next(messages)["topics"]] == ["order.created"]
            (changed := tmp_path / "changed").write_text(RULES.replace("order", "payment"))
            changed.replace(bus.secured.acl_file)
            for _ in messages:
                client.dispatch("order.created", 1)
        with stream(bus.server.web, **viewer) as messages:
            assert [each["topic"] for each in next(messages)["topics"]] == ["payment.made"]


@asynccontextmanager
async def page(engine: Engine) -> AsyncIterator[AsyncIterator[Message]]:
    """The messages to an open page. Waiting for one fails when it takes too long."""
    running = RunningEngine.of(engine, SystemClock(), ScheduleCodec())
    running.status = EngineStatus.SERVING
    messages = cast("AsyncGenerator[Message]", live.Live(Engines([running])).messages())
    async with asyncio.timeout(SIGNAL_TIMEOUT_S), aclosing(messages):
        yield messages


async def test_where_snapshots_are_seldom_heartbeats_come_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise a page takes its connection for broken, and a busy server has to send everything again."""
    monkeypatch.setattr(live, "SHARE", 1e-9)
    monkeypatch.setattr(live, "HEARTBEAT_S", 0.01)
    async with local(TopicConfig()) as harness, page(harness.engine) as messages:
        first, *later = [await anext(messages) for _ in range(3)]
    assert [first.content["first"], *(message.content["first"] for message in later)] == [True, False, False]


async def test_after_an_unexpected_error_pages_are_told_and_get_what_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise no more snapshots are taken while any page is open, and pages show old figures as live."""
    monkeypatch.setattr(live, "INTERVAL_S", 0)
    async with local(TopicConfig()) as harness, page(harness.engine) as messages:
        await anext(messages)
        with monkeypatch.context() as patch:
            patch.setattr(harness.engine, "list_topics", None)  # a defect
            [told] = (await anext(messages)).content["engines"]
            assert told["problem"].startswith("internal error, see log id")
        topic = TopicDriver(harness)
        await topic.dispatch("event")
        while not (seen := (await anext(messages)).content["topics"]):
            pass
    assert [each["topic"] for each in seen] == [topic.name]
