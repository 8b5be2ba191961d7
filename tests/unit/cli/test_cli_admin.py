"""The requests that the operators' commands send, and when they send none."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import grpc
import pytest
from duebus.v1 import admin_pb2
from unit.client.fake_bus import Failure, FakeBus

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)

Command = Callable[..., int]
Capture = pytest.CaptureFixture[str]


def dead(event_id: str, error: str = "", age: timedelta = timedelta()) -> admin_pb2.EventInfo:
    event = admin_pb2.EventInfo(topic="orders")
    event.event.id = event_id
    group = event.groups.add(group="default", state=admin_pb2.EVENT_STATE_DEAD, attempts=4, last_error=error)
    group.dead_at.FromDatetime(datetime.now(UTC) - age)
    return event


def topic(**counts: int) -> admin_pb2.GetTopicResponse:
    info = admin_pb2.TopicInfo(topic="orders", queued=7)
    info.groups.add(group="default", **counts)
    info.groups.add(group="mail", dead=100)
    return admin_pb2.GetTopicResponse(topic=info)


def listed(*events: admin_pb2.EventInfo, more: str = "") -> admin_pb2.ListEventsResponse:
    return admin_pb2.ListEventsResponse(events=events, next_page_token=more)


def record(capsys: Capture) -> Any:
    return json.loads(capsys.readouterr().out)


# --- asking first -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "would"),
    [
        (["dead", "orders", "-g", "default", "--purge"], "purge 12 dead letters of orders in group default"),
        (["dead", "orders", "-g", "default", "--redrive"], "redrive 12 dead letters of orders in group default"),
        (
            ["delete-group", "orders", "default"],
            "delete group default of orders, with 4 events, 12 dead letters and 0 subscribers",
        ),
        (["delete-topic", "orders"], "delete orders, with 2 groups, 7 events, 112 dead letters and 0 subscribers"),
    ],
)
def test_without_a_terminal_nothing_is_done_without_yes(
    bus: FakeBus, duebus: Command, capsys: Capture, arguments: list[str], would: str
) -> None:
    bus.answer("GetTopic", topic(scheduled=1, ready=2, leased=1, dead=12))

    assert duebus(*arguments) == 2

    assert set(bus.requests) == {"GetTopic"}
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err == (f"duebus: would {would}; there is no terminal to ask on, so pass --yes; nothing was done\n")


def test_only_selected_dead_letters_are_counted(bus: FakeBus, duebus: Command, capsys: Capture) -> None:
    old = timedelta(minutes=6)
    bus.answer("GetTopic", topic(dead=4))
    bus.answer(
        "ListEvents",
        listed(dead("a", "no card", old), dead("b", "busy", old), more="next"),
        listed(dead("c", "the card", old), dead("d", "no card", timedelta(minutes=4))),
    )

    assert duebus("dead", "orders", "-g", "default", "--purge", "--error", "card", "--min-age", "5m") == 2

    assert "would purge 2 dead letters of orders" in capsys.readouterr().err
    assert set(bus.requests) == {"GetTopic", "ListEvents"}


def test_a_very_large_count_is_only_a_lower_bound(bus: FakeBus, duebus: Command, capsys: Capture) -> None:
    page = listed(*(dead(str(number), "busy" if number % 4 else "card") for number in range(1000)), more="next")
    bus.answer("GetTopic", topic(dead=1_000_000))
    bus.answer("ListEvents", *[page] * 11)

    assert duebus("dead", "orders", "-g", "default", "--purge", "--error", "card") == 2

    assert "would purge at least 2,500 of 1,000,000 dead letters of orders in group default;" in capsys.readouterr().err
    assert len(bus.requests["ListEvents"]) <= 11


def test_an_incomplete_count_asks_even_if_none_was_found(bus: FakeBus, duebus: Command, capsys: Capture) -> None:
    page = listed(*(dead(str(number), "busy") for number in range(1000)), more="next")
    bus.answer("GetTopic", topic(dead=1_000_000))
    bus.answer("ListEvents", *[page] * 11)

    assert duebus("dead", "orders", "-g", "default", "--purge", "--error", "card") == 2

    assert "would purge some of 1,000,000 dead letters of orders" in capsys.readouterr().err
    assert "PurgeEvents" not in bus.requests


def test_an_id_of_another_groups_dead_letter_is_reported_as_missing(
    bus: FakeBus, duebus: Command, capsys: Capture
) -> None:
    event = dead("a")
    event.groups.add(group="mail", state=admin_pb2.EVENT_STATE_READY)
    bus.answer("GetEvent", *[admin_pb2.GetEventResponse(event=event)] * 2)

    assert duebus("dead", "orders", "--id", "a", "-g", "mail", "--json") == 0
    assert capsys.readouterr().out == ""
    assert duebus("dead", "orders", "-g", "default", "--id", "a", "--json") == 0
    assert [each["group"] for each in json.loads(capsys.readouterr().out)["groups"]] == ["default"]


def test_with_ids_a_purge_asks_first_and_a_redrive_does_not(bus: FakeBus, duebus: Command, capsys: Capture) -> None:
    event = dead("a")
    event.groups.add(group="mail", state=admin_pb2.EVENT_STATE_READY)
    bus.answer("GetTopic", topic(dead=12))
    bus.answer("GetEvent", *[admin_pb2.GetEventResponse(event=event)] * 3)
    assert duebus("dead", "orders", "-g", "default", "--purge", "--id", "a", "--id", "a") == 2
    assert "would purge 1 dead letter of orders" in capsys.readouterr().err

    bus.answer("RedriveEvents", admin_pb2.RedriveEventsResponse(redriven=1))
    assert duebus("dead", "orders", "-g", "default", "--redrive", "--id", "a") == 0
    assert list(bus.requests["RedriveEvents"][0].filter.event_ids) == ["a"]


def test_nothing_is_asked_if_nothing_is_selected(bus: FakeBus, duebus: Command, capsys: Capture) -> None:
    bus.answer("GetTopic", topic())
    bus.answer("PurgeEvents", admin_pb2.PurgeEventsResponse())

    assert duebus("dead", "orders", "-g", "default", "--purge") == 0

    assert capsys.readouterr().out == "purged 0 dead letters of orders in group default\n"


# --- requests ---------------------------------------------------------------------------------------------------------


def test_the_conditions_of_a_redrive_reach_the_bus(bus: FakeBus, duebus: Command, capsys: Capture) -> None:
    bus.answer("RedriveEvents", admin_pb2.RedriveEventsResponse(redriven=1201))

    assert duebus(
        "dead", "orders", "-g", "mail", "--redrive", "--error", "card", "--min-age", "5m", "--rate", "2.5", "--yes"
    ) == 0  # fmt: skip

    (request,) = bus.requests["RedriveEvents"]
    assert (request.topic, request.group, request.rate) == ("orders", "mail", 2.5)
    assert (request.filter.error_contains, request.filter.min_age.seconds) == ("card", 300)
    assert capsys.readouterr().out == "redrove 1,201 dead letters of orders in group mail, 2.5 a second\n"


def test_ids_are_cancelled_a_thousand_at_a_time(bus: FakeBus, duebus: Command, capsys: Capture) -> None:
    bus.answer(
        "CancelEvents",
        admin_pb2.CancelEventsResponse(cancelled=998, leased_event_ids=["e1"], missing_event_ids=["e2"]),
        admin_pb2.CancelEventsResponse(cancelled=199, missing_event_ids=["e3"]),
    )

    ids = [f"e{number}" for number in range(1200)]
    assert duebus("cancel", "orders", *ids, "e7", "--yes", "--json") == 1

    assert [len(request.event_ids) for request in bus.requests["CancelEvents"]] == [1000, 200]
    printed = capsys.readouterr()
    assert json.loads(printed.out) == {
        "topic": "orders",
        "cancelled": 1197,
        "leased_event_ids": ["e1"],
        "missing_event_ids": ["e2", "e3"],
    }
    assert printed.err == "duebus: skipped, because they are leased or dead: e1; not found: e2, e3\n"


def test_a_cancel_that_fails_partway_reports_what_is_done(bus: FakeBus, duebus: Command, capsys: Capture) -> None:
    lost = Failure(grpc.StatusCode.INTERNAL, "boom", "INTERNAL")
    bus.answer("CancelEvents", admin_pb2.CancelEventsResponse(cancelled=1000), lost)

    assert duebus("cancel", "orders", *(f"e{number}" for number in range(1500)), "--yes") == 1

    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith("failed: boom; 1,000 events cancelled before that")


def test_only_some_of_many_ids_are_named(bus: FakeBus, duebus: Command, capsys: Capture) -> None:
    gone = [f"e{number}" for number in range(8)]
    bus.answer("CancelEvents", admin_pb2.CancelEventsResponse(missing_event_ids=gone))

    assert duebus("cancel", "orders", *gone, "--yes") == 1

    assert capsys.readouterr().err == "duebus: not found: e0, e1, e2, e3, e4 and 3 more\n"


def test_a_refused_setting_is_named_as_it_was_typed(bus: FakeBus, duebus: Command, capsys: Capture) -> None:
    field, text = "config.retry_policy.backoff_max", "must not be less than backoff_initial"
    refused = Failure(grpc.StatusCode.INVALID_ARGUMENT, f"{field}: {text}", "INVALID_ARGUMENT", fields={field: text})
    bus.answer("ConfigureTopic", refused)

    assert duebus("config", "orders", "--backoff-max", "1ms") == 1

    assert capsys.readouterr().err == f"duebus: backoff_max: {text}\n"


def test_settings_as_json_always_have_the_same_fields(bus: FakeBus, duebus: Command, capsys: Capture) -> None:
    info = topic()
    info.topic.config.lease.seconds = 30
    info.topic.config.partitions = 1
    info.topic.groups[1].retry_policy.max_retries = 8
    bus.answer("GetTopic", info, info)

    assert duebus("config", "orders", "--json") == 0
    policy = {"max_retries": 0, "backoff_initial_seconds": 0.0, "backoff_max_seconds": 0.0}
    assert record(capsys) == {
        "topic": "orders",
        "retry_policy": policy,
        "lease_seconds": 30.0,
        "max_queued": 0,
        "dead_letter_retention_seconds": 0.0,
        "dedupe_window_seconds": 0.0,
        "partitions": 1,
        "limits": None,
        "keys": None,
    }
    assert duebus("config", "orders", "--group", "mail", "--json") == 0
    own = {"retry_policy": policy | {"max_retries": 8}, "limits": None, "keys": None}
    assert record(capsys) == {"topic": "orders", "group": "mail", **own}
    assert set(bus.requests) == {"GetTopic"}


def test_limits_and_key_policies_are_written_as_they_are_shown(bus: FakeBus, duebus: Command, capsys: Capture) -> None:
    bus.answer("ConfigureTopic", admin_pb2.ConfigureTopicResponse(), admin_pb2.ConfigureTopicResponse())
    limits, keys = "max-in-flight=5,rate=10/1s,burst=20", "max-in-flight=1,rate=1/1m,on-dead=hold,max-blocked=9"

    assert duebus("config", "orders", "--group", "mail", "--limits", limits, "--keys", keys) == 0
    assert duebus("config", "orders", "--limits", "none", "--keys", "none") == 0

    changed, removed = [request.config for request in bus.requests["ConfigureTopic"]]
    assert (changed.limits.max_in_flight, changed.limits.rate.events, changed.limits.rate.burst) == (5, 10, 20)
    assert changed.limits.rate.per.ToTimedelta() == timedelta(seconds=1)
    assert (changed.keys.max_in_flight, changed.keys.rate.events, changed.keys.max_blocked) == (1, 1, 9)
    assert changed.keys.on_dead == admin_pb2.KeyPolicy.ON_DEAD_HOLD
    assert removed.HasField("limits")
    assert removed.HasField("keys")
    assert removed == admin_pb2.TopicConfig(limits={}, keys={"on_dead": "ON_DEAD_SKIP"})
    info = topic()
    info.topic.groups[1].limits.CopyFrom(changed.limits)
    info.topic.groups[1].keys.CopyFrom(changed.keys)
    bus.answer("GetTopic", info, info)
    capsys.readouterr()
    assert duebus("config", "orders", "--group", "mail") == 0
    shown = capsys.readouterr().out
    assert limits in shown
    assert keys in shown
    assert duebus("config", "orders", "--group", "mail", "--json") == 0
    assert record(capsys)["limits"] == {
        "max_in_flight": 5,
        "rate": {"events": 10, "per_seconds": 1.0, "burst": 20},
    }


@pytest.mark.parametrize("text", ["5", "max-in-flight", "max-in-flight=x", "rate=10", "burst=3", "on-dead=no", "?=1"])
@pytest.mark.parametrize("flag", ["--limits", "--keys"])
def test_limits_that_cant_be_read_are_refused(bus: FakeBus, duebus: Command, flag: str, text: str) -> None:
    assert duebus("config", "orders", flag, text) == 2
    assert not bus.requests


def test_a_list_of_dead_letters_ends_at_its_limit(bus: FakeBus, duebus: Command, capsys: Capture) -> None:
    bus.answer("ListEvents", listed(dead("a"), dead("b"), dead("c"), more="and more"))

    assert duebus("dead", "orders", "-g", "default", "--limit", "2", "--newest") == 0

    (request,) = bus.requests["ListEvents"]
    assert (request.state, request.page_size) == (admin_pb2.EVENT_STATE_DEAD, 3)
    assert request.order == admin_pb2.ListEventsRequest.ORDER_NEWEST_FIRST
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["ID", "a", "b", "and"]


# --- damaged topics ---------------------------------------------------------------------------------------------------


def test_a_topic_that_cannot_be_shown_does_not_hide_the_others(bus: FakeBus, duebus: Command, capsys: Capture) -> None:
    damaged = admin_pb2.TopicInfo(topic="broken", problem="a key has the wrong type")
    bus.answer("ListTopics", admin_pb2.ListTopicsResponse(topics=[damaged, topic().topic]))

    assert duebus("topics") == 0

    out = capsys.readouterr().out
    assert "broken can't be shown: a key has the wrong type" in out
    assert "mail" in out


def test_a_topic_shows_its_lateness_and_what_happened_in_each_minute(
    bus: FakeBus, duebus: Command, capsys: Capture
) -> None:
    answer = topic(ready=1)
    group = answer.topic.groups[0]
    group.lateness.p50.FromMilliseconds(2)
    group.lateness.p99.FromMilliseconds(1_500)
    minute = answer.topic.minutes.add(dispatched=9)
    minute.start.FromDatetime(datetime(2026, 1, 1, 12, tzinfo=UTC))
    minute.groups.add(group="default", delivered=8, acked=7, nacked=1, dead=1).lateness.p99.FromMilliseconds(40)
    answer.topic.minutes.add(dispatched=11)
    for _ in range(3):
        bus.answer("GetTopic", answer)

    assert duebus("topic", "orders") == 0
    plain = capsys.readouterr().out
    assert duebus("topic", "orders", "--minutes") == 0
    lines = capsys.readouterr().out.splitlines()

    assert "MINUTE" not in plain
    assert "2ms" in plain
    assert "1.5s" in plain
    (row,) = [line for line in lines if "40ms" in line]
    assert row.split()[-8:] == ["9", "default", "8", "7", "1", "1", "0ms", "40ms"]
    assert lines[-1].split()[-1] == "11"
    assert duebus("topic", "orders", "--json") == 0
    (one, _) = record(capsys)["minutes"]
    assert one["groups"][0]["lateness"] == {"p50_seconds": 0.0, "p99_seconds": 0.04}
