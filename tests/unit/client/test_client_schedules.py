"""Requests for schedules."""

import pytest
from duebus._core import events, schedule_calls
from duebus._core.schedule_calls import EventFields, Policy, Rule
from duebus.v1 import schedules_pb2


def request() -> schedules_pb2.PutScheduleRequest:
    event = EventFields(data=b"", attributes=None, content_type=None, max_retries=None, key="", priority=0)
    rule = Rule(cron="* * * * *", every=None, zone="", start=None, end=None)
    policy = Policy(
        max_runs=0, jitter=None, overlap="allow", catch_up="last", catch_up_window=None, paused=False, note=""
    )
    made = schedule_calls.put("name", "topic", event, rule, policy, engine=None).request
    assert isinstance(made, schedules_pb2.PutScheduleRequest)
    return made


def test_a_schedule_is_the_same_within_every_span(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the span of the put among its attributes, a schedule would change with every start of a worker."""
    before = request()
    monkeypatch.setattr(events, "current_span", lambda: {"traceparent": "00-1-2-01"})

    assert request() == before
    assert not before.schedule.event.attributes
    assert before.schedule.HasField("event")
