"""`duebus event`: the timeline of an event."""

import json
import re
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

import pytest
from duebus.v1 import admin_pb2
from google.protobuf.timestamp_pb2 import Timestamp
from unit.client.fake_bus import FakeBus

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
STATES = admin_pb2.EventState
OUTCOMES = admin_pb2.Attempt.Outcome


@pytest.fixture(autouse=True)
def in_utc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def at(seconds: float) -> Timestamp:
    moment = Timestamp()
    moment.FromDatetime(NOON + timedelta(seconds=seconds))
    return moment


def attempt(number: int, begins: float, outcome: OUTCOMES, error: str = "", **more: Timestamp) -> admin_pb2.Attempt:
    ends = None if outcome == admin_pb2.Attempt.OUTCOME_UNSPECIFIED else at(begins + 1.5)
    return admin_pb2.Attempt(
        attempt=number, started_at=at(begins), ended_at=ends, consumer="w-1", outcome=outcome, error=error, **more
    )


@pytest.fixture
def show(bus: FakeBus, duebus: Callable[..., int], capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """What `duebus event` prints about an event that is in these groups."""

    def command(*groups: admin_pb2.EventGroupInfo) -> str:
        bus.answer("GetTopic", topic("billing", "mail", "audit"))
        bus.answer("GetEvent", event_in(*groups))
        assert duebus("event", "orders", "o-42") == 0
        return capsys.readouterr().out

    return command


def event_in(*groups: admin_pb2.EventGroupInfo) -> admin_pb2.GetEventResponse:
    event = admin_pb2.EventInfo(topic="orders", dispatched_at=at(0), dispatched_by="ipv4:10.0.0.7:5000", groups=groups)
    event.event.id = "o-42"
    event.event.data = b'{"id":42}'
    event.event.content_type = "application/json"
    return admin_pb2.GetEventResponse(event=event)


def topic(*groups: str) -> admin_pb2.GetTopicResponse:
    return admin_pb2.GetTopicResponse(
        topic=admin_pb2.TopicInfo(topic="orders", groups=[admin_pb2.GroupInfo(group=each) for each in groups])
    )


def test_data_that_the_caller_may_not_see_is_named_as_withheld(
    bus: FakeBus, duebus: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    answer = event_in()
    answer.event.event.ClearField("data")
    answer.event.data_withheld = True
    bus.answer("GetTopic", topic("billing"))
    bus.answer("GetEvent", answer, answer)
    assert duebus("event", "orders", "o-42") == 0
    assert "data        (withheld)\n" in capsys.readouterr().out
    assert duebus("event", "orders", "o-42", "--json") == 0
    record = json.loads(capsys.readouterr().out)
    assert (record["data_withheld"], "data" in record) == (True, False)


def timeline(out: str) -> list[str]:
    """The times and descriptions of the timeline."""
    lines = out.partition("FROM (+00:00)")[2].partition("\n\n")[0].splitlines()[1:]
    return [re.sub(r" +", " ", line).strip() for line in lines]


def test_the_history_of_an_event_that_failed_was_redriven_and_waits(show: Callable[..., str]) -> None:
    group = admin_pb2.EventGroupInfo(
        group="billing",
        state=admin_pb2.EVENT_STATE_SCHEDULED,
        attempts=1,
        max_retries=2,
        deliver_at=at(90_002),
        last_error="busy",
        history=[
            attempt(1, 0, admin_pb2.Attempt.OUTCOME_NACKED, "no card"),
            attempt(2, 10, admin_pb2.Attempt.OUTCOME_EXPIRED, "the lease expired"),
            attempt(3, 20, admin_pb2.Attempt.OUTCOME_DEAD, "no\ncard", redriven_at=at(90_000)),
            attempt(1, 90_000, admin_pb2.Attempt.OUTCOME_NACKED, "busy"),
        ],
    )

    out = show(group)

    assert " by ipv4:10.0.0.7:5000\n" in out
    assert "1 attempt since it was redriven, 2 retries allowed\nlast error: busy\n" in out
    assert timeline(out) == [
        "2026-11-23 12:00:00.000 dispatched",
        "12:00:00.000 12:00:01.500 1.5s attempt 1: failed, to be retried w-1 no card",
        "12:00:10.000 12:00:11.500 1.5s attempt 2: its lease ran out w-1 the lease expired",
        "12:00:20.000 12:00:21.500 1.5s attempt 3: failed, became a dead letter w-1 no\\ncard",
        "2026-11-24 13:00:00.000 redriven, with all its retries",
        "13:00:00.000 13:00:01.500 1.5s attempt 1: failed, to be retried w-1 busy",
        "13:00:02.000 becomes due",
    ]


def test_each_group_has_its_own_timeline(show: Callable[..., str]) -> None:
    leased = admin_pb2.EventGroupInfo(
        group="billing",
        state=admin_pb2.EVENT_STATE_LEASED,
        attempts=1,
        max_retries=3,
        consumer="w-1",
        lease_expires_at=at(40),
        history=[attempt(1, 10, admin_pb2.Attempt.OUTCOME_UNSPECIFIED)],
    )
    dead = admin_pb2.EventGroupInfo(
        group="mail",
        state=admin_pb2.EVENT_STATE_DEAD,
        attempts=3,
        free_attempts=2,
        dead_at=at(32),
        history=[attempt(1, 2, admin_pb2.Attempt.OUTCOME_EXPIRED)],
    )

    _, billing, mail = show(leased, dead).split("\nin group ")

    assert billing.startswith("billing: leased to w-1 until 2026-11-23 12:00:40.000+00:00 (")
    assert timeline(billing) == [
        "2026-11-23 12:00:00.000 dispatched",
        "12:00:10.000 attempt 1: under way w-1",
        "12:00:40.000 the lease runs out, unless it is settled or extended",
    ]
    assert mail.startswith("mail: dead since 2026-11-23 12:00:32.000+00:00 (")
    assert "; 3 attempts (2 used up no retry), 0 retries allowed\n" in mail
    assert timeline(mail)[-2:] == [
        "12:00:02.000 12:00:03.500 1.5s attempt 1: its lease ran out w-1",
        "12:00:32.000 became a dead letter",
    ]
    assert "\n\nno longer in group audit: acked, " in mail


def test_a_history_without_its_beginning_says_so(show: Callable[..., str]) -> None:
    history = [attempt(number, number, admin_pb2.Attempt.OUTCOME_RELEASED) for number in (6, 7)]
    ready = admin_pb2.EventGroupInfo(group="g", state=admin_pb2.EVENT_STATE_READY, deliver_at=at(0), history=history)

    lines = timeline(show(ready))

    assert lines[1] == "earlier attempts, no longer recorded"
    assert lines[2] == "12:00:06.000 12:00:07.500 1.5s attempt 6: released, not counted w-1"
    assert lines[4] == "ready, waits for a subscriber"
