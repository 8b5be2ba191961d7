"""The client's admin calls that change something: requests, results, and retries."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import grpc
import pytest
from duebus import Cancelled, Client, Purged, Redriven, Removed, Rescheduled, TopicConfig, aio, errors
from duebus.v1 import admin_pb2, event_bus_pb2
from google.protobuf.duration_pb2 import Duration
from unit.client.fake_bus import LOST, Failure, FakeBus

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
LOCAL = event_bus_pb2.ENGINE_LOCAL

COUNTED: dict[str, Callable[[Client], object]] = {
    "DeleteTopic": lambda client: client.admin.delete_topic("orders"),
    "DeleteGroup": lambda client: client.admin.delete_group("orders", "audit"),
    "CancelEvents": lambda client: client.admin.cancel("orders", "o-1"),
    "RescheduleEvents": lambda client: client.admin.reschedule("orders", "o-1", delay=1),
    "RedriveEvents": lambda client: client.admin.redrive("orders"),
    "PurgeEvents": lambda client: client.admin.purge("orders"),
}


def config() -> admin_pb2.TopicConfig:
    return admin_pb2.TopicConfig(
        retry_policy=admin_pb2.RetryPolicy(max_retries=7, backoff_initial=Duration(seconds=1)),
        lease=Duration(seconds=9),
    )


# --- what is sent -----------------------------------------------------------------------------------------------------


def test_only_the_settings_that_are_given_are_sent(bus: FakeBus) -> None:
    bus.answer("ConfigureTopic", admin_pb2.ConfigureTopicResponse(config=config()))
    with Client(bus.target) as client:
        now = client.admin.configure_topic("orders", max_retries=0, lease=timedelta(seconds=9), max_queued=0)

    assert bus.requests["ConfigureTopic"] == [
        admin_pb2.ConfigureTopicRequest(
            topic="orders",
            config=admin_pb2.TopicConfig(
                retry_policy=admin_pb2.RetryPolicy(max_retries=0), lease=Duration(seconds=9), max_queued=0
            ),
        )
    ]
    assert isinstance(now, TopicConfig)
    assert (now.retry_policy.max_retries, now.lease) == (7, timedelta(seconds=9))


def test_every_setting_has_its_field(bus: FakeBus) -> None:
    bus.answer("ConfigureTopic", admin_pb2.ConfigureTopicResponse(config=config()))
    with Client(bus.target) as client:
        client.admin.configure_topic(
            "orders",
            group="audit",
            max_retries=1,
            backoff_initial=2,
            backoff_max=3.5,
            lease=4,
            max_queued=5,
            dead_letter_retention=timedelta(seconds=6),
            dedupe_window=0,
            partitions=8,
            engine="local",
        )

    policy = admin_pb2.RetryPolicy(
        max_retries=1, backoff_initial=Duration(seconds=2), backoff_max=Duration(seconds=3, nanos=500_000_000)
    )
    sent = admin_pb2.TopicConfig(
        retry_policy=policy,
        lease=Duration(seconds=4),
        max_queued=5,
        dead_letter_retention=Duration(seconds=6),
        dedupe_window=Duration(),
        partitions=8,
    )
    assert bus.requests["ConfigureTopic"] == [
        admin_pb2.ConfigureTopicRequest(engine=LOCAL, topic="orders", group="audit", config=sent)
    ]
    assert sent.HasField("dedupe_window")


async def test_topics_and_groups_are_deleted_paused_and_resumed(bus: FakeBus) -> None:
    bus.answer("DeleteTopic", admin_pb2.DeleteTopicResponse(removed=12))
    bus.answer("DeleteGroup", admin_pb2.DeleteGroupResponse(removed=3))
    bus.answer("PauseGroup", admin_pb2.PauseGroupResponse())
    bus.answer("ResumeGroup", admin_pb2.ResumeGroupResponse())
    async with aio.Client(bus.target) as client:
        assert await client.admin.delete_topic("orders", engine="local") == Removed(12)
        assert await client.admin.delete_group("orders", "audit") == Removed(3)
        await client.admin.pause_group("orders", "audit", engine="local")
        await client.admin.resume_group("orders")

    assert bus.requests["DeleteTopic"] == [admin_pb2.DeleteTopicRequest(engine=LOCAL, topic="orders")]
    assert bus.requests["DeleteGroup"] == [admin_pb2.DeleteGroupRequest(topic="orders", group="audit")]
    assert bus.requests["PauseGroup"] == [admin_pb2.PauseGroupRequest(engine=LOCAL, topic="orders", group="audit")]
    assert bus.requests["ResumeGroup"] == [admin_pb2.ResumeGroupRequest(topic="orders")]


def test_a_cancellation_reports_what_it_left_alone(bus: FakeBus) -> None:
    bus.answer(
        "CancelEvents",
        admin_pb2.CancelEventsResponse(cancelled=2, leased_event_ids=["c"], missing_event_ids=["d", "e"]),
    )
    with Client(bus.target) as client:
        result = client.admin.cancel("orders", iter("abcde"), group="audit")

    assert result == Cancelled(2, ("c",), ("d", "e"))
    assert bus.requests["CancelEvents"] == [
        admin_pb2.CancelEventsRequest(topic="orders", group="audit", event_ids=["a", "b", "c", "d", "e"])
    ]


def test_a_single_id_counts_as_a_list(bus: FakeBus) -> None:
    bus.answer("CancelEvents", admin_pb2.CancelEventsResponse(cancelled=1))
    with Client(bus.target) as client:
        client.admin.cancel("orders", "o-42")

    assert list(bus.requests["CancelEvents"][0].event_ids) == ["o-42"]


async def test_events_are_rescheduled_by_a_delay_or_to_a_time(bus: FakeBus) -> None:
    bus.answer("RescheduleEvents", *[admin_pb2.RescheduleEventsResponse(rescheduled=2)] * 2)
    async with aio.Client(bus.target) as client:
        assert await client.admin.reschedule("orders", ["a", "b"], delay=0) == Rescheduled(2)
        assert await client.admin.reschedule("orders", ["a", "b"], at=NOON, group="audit") == Rescheduled(2)

    by_delay, to_moment = bus.requests["RescheduleEvents"]
    assert (by_delay.WhichOneof("due"), by_delay.delay, by_delay.group) == ("delay", Duration(), "")
    assert (to_moment.WhichOneof("due"), to_moment.group) == ("deliver_at", "audit")
    assert to_moment.deliver_at.ToDatetime(UTC) == NOON


def test_dead_letters_are_selected_by_conditions(bus: FakeBus) -> None:
    bus.answer("RedriveEvents", admin_pb2.RedriveEventsResponse(redriven=2))
    bus.answer("PurgeEvents", admin_pb2.PurgeEventsResponse(purged=3))
    with Client(bus.target) as client:
        redriven = client.admin.redrive(
            "orders", group="audit", event_ids=["a"], error_contains="card", min_age=60, rate=2.5
        )
        purged = client.admin.purge("orders")

    assert (redriven, purged) == (Redriven(2), Purged(3))
    chosen = admin_pb2.DeadLetterFilter(event_ids=["a"], error_contains="card", min_age=Duration(seconds=60))
    assert bus.requests["RedriveEvents"] == [
        admin_pb2.RedriveEventsRequest(topic="orders", group="audit", filter=chosen, rate=2.5)
    ]
    assert bus.requests["PurgeEvents"] == [
        admin_pb2.PurgeEventsRequest(topic="orders", filter=admin_pb2.DeadLetterFilter())
    ]


# --- what is refused before it is sent --------------------------------------------------------------------------------


@pytest.mark.parametrize("call", ["redrive", "purge"])
def test_an_empty_list_of_ids_does_not_select_all_dead_letters(bus: FakeBus, call: str) -> None:
    with Client(bus.target) as client, pytest.raises(errors.InvalidArgument, match=r"^event_ids: is empty"):
        getattr(client.admin, call)("orders", event_ids=[])

    assert not bus.requests


def test_a_delay_together_with_a_time_is_refused() -> None:
    with Client() as client, pytest.raises(errors.InvalidArgument, match=r"^delay: can't be set together with at"):
        client.admin.reschedule("orders", "o-1", delay=1, at=NOON)


@pytest.mark.parametrize(
    ("field", "arguments"),
    [
        ("max_retries", {"max_retries": "3"}),
        ("lease", {"lease": "30s"}),
        ("max_queued", {"max_queued": 1.5}),
        ("group", {"group": None}),
    ],
)
def test_a_setting_of_a_wrong_type_is_named(field: str, arguments: dict[str, Any]) -> None:
    with Client() as client, pytest.raises(TypeError, match=f"^{field}: "):
        client.admin.configure_topic("orders", **arguments)


@pytest.mark.parametrize(
    ("field", "arguments"),
    [("rate", {"rate": "fast"}), ("min_age", {"min_age": "5m"}), (r"event_ids\[1\]", {"event_ids": ["a", 1]})],
)
def test_a_condition_of_a_wrong_type_is_named(field: str, arguments: dict[str, Any]) -> None:
    with Client() as client, pytest.raises(TypeError, match=f"^{field}: "):
        client.admin.redrive("orders", **arguments)


@pytest.mark.parametrize("change", ["redrive", "purge"])
@pytest.mark.parametrize(("field", "empty"), [("event_ids", []), ("error_contains", ""), ("key", "")])
def test_an_empty_condition_does_not_select_all_dead_letters(change: str, field: str, empty: Any) -> None:
    with Client() as client, pytest.raises(errors.InvalidArgument, match=f"^{field}: is empty; pass None"):
        getattr(client.admin, change)("orders", **{field: empty})


# --- retries ----------------------------------------------------------------------------------------------------------


def test_repeatable_calls_are_retried(bus: FakeBus) -> None:
    bus.answer("ConfigureTopic", LOST, admin_pb2.ConfigureTopicResponse(config=config()))
    bus.answer("PauseGroup", LOST, admin_pb2.PauseGroupResponse())
    bus.answer("ResumeGroup", LOST, admin_pb2.ResumeGroupResponse())
    with Client(bus.target) as client:
        client.admin.configure_topic("orders", max_retries=7)
        client.admin.pause_group("orders")
        client.admin.resume_group("orders")

    assert {rpc: len(requests) for rpc, requests in bus.requests.items()} == {
        "ConfigureTopic": 2,
        "PauseGroup": 2,
        "ResumeGroup": 2,
    }


@pytest.mark.parametrize("rpc", COUNTED)
def test_a_call_whose_answer_counts_what_it_did_is_not_retried(bus: FakeBus, rpc: str) -> None:
    bus.answer(rpc, LOST)
    with Client(bus.target) as client, pytest.raises(errors.Unavailable):
        COUNTED[rpc](client)

    assert len(bus.requests[rpc]) == 1


@pytest.mark.parametrize("rpc", ["DeleteTopic", "DeleteGroup", "RedriveEvents", "PurgeEvents"])
def test_slow_calls_ignore_the_default_timeout_of_the_client(bus: FakeBus, rpc: str) -> None:
    remaining: list[float] = []

    def answer(_request: object, context: grpc.ServicerContext) -> Any:
        remaining.append(context.time_remaining())
        return getattr(admin_pb2, f"{rpc}Response")()

    bus.answer(rpc, answer)
    with Client(bus.target, timeout=5) as client:
        COUNTED[rpc](client)

    (left,) = remaining
    assert left > 3600


def test_an_event_that_is_leased_can_not_be_rescheduled(bus: FakeBus) -> None:
    bus.answer("RescheduleEvents", Failure(grpc.StatusCode.ABORTED, "o-1 is leased", "CONCURRENT_MODIFICATION"))
    with Client(bus.target) as client, pytest.raises(errors.ConcurrentModification, match="o-1 is leased"):
        client.admin.reschedule("orders", "o-1", delay=1)
