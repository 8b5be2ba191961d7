"""Bad input: the error names the field, nothing is stored, and the server keeps running."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio
import pytest
from duebus.v1 import admin_pb2, event_bus_pb2
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from support.wire import Failure, duration, event, failure_of

if TYPE_CHECKING:
    from support.wire import Wire

TEN_YEARS_S = 10 * 365 * 24 * 3600
MEBIBYTE = 1 << 20
BAD_NAMES = [".hidden", "-a", "_a", "a b", "a/b", "a\n", "größe", "a" * 256, "*", "a\x00"]
TOMORROWS_ENGINE: Any = 77


def dispatch(*events: event_bus_pb2.Event, **fields: Any) -> event_bus_pb2.DispatchRequest:
    return event_bus_pb2.DispatchRequest(topic="bad.input", events=events or [event("a")], **fields)


def subscribe(**fields: Any) -> event_bus_pb2.SubscribeRequest:
    return event_bus_pb2.SubscribeRequest(**{"topic": "bad.input"} | fields)


def nack(**fields: Any) -> event_bus_pb2.NackRequest:
    return event_bus_pb2.NackRequest(nacks=[event_bus_pb2.Nack(), event_bus_pb2.Nack(**fields)])


def second(**fields: Any) -> event_bus_pb2.DispatchRequest:
    """A Dispatch whose second event is bad."""
    return dispatch(event("good"), event(**fields))


DISPATCHES = [
    ("events[1].delay", second(delay=-1)),
    ("events[1].delay", second(delay=Duration(nanos=-1_000))),
    ("events[1].delay", second(delay=TEN_YEARS_S + 1)),
    ("events[1].delay", second(delay=Duration(seconds=2**63 - 1))),
    ("events[1].delay", second(delay=Duration(seconds=1, nanos=-1))),
    ("events[1].delay", second(delay=Duration(nanos=1_000_000_000))),
    ("events[1].deliver_at", second(deliver_at=Timestamp(seconds=253_402_300_799))),
    ("events[1].deliver_at", second(deliver_at=Timestamp(seconds=2**63 - 1))),
    ("events[1].deliver_at", second(deliver_at=Timestamp(seconds=-(2**63)))),
    ("events[1].deliver_at", second(deliver_at=Timestamp(nanos=-1))),
    ("events[1].deliver_at", second(deliver_at=Timestamp(nanos=1_000_000_000))),
    ("events[1].id", second(event_id="x" * 256)),
    ("events[1].id", second(event_id="é" * 128)),
    ("events[1].id", second(event_id="a\nb")),
    ("events[1].id", second(event_id="\u200b")),
    ("events[1].data", second(data=b"x" * (MEBIBYTE + 1))),
    ("events[1].content_type", second(content_type="x" * 256)),
    ("events[1].content_type", second(content_type="text/\x7f")),
    ("events[1].attributes", second(attributes={"k": "x" * (64 << 10)})),
    ("events[1].attributes", second(attributes={f"k{n}": "x" * 100 for n in range(700)})),
    ("events[1].attributes", second(attributes={"": "nameless"})),
    ("events[1].key", second(key="x" * 256)),
    ("events[1].key", second(key="é" * 128)),
    ("events[1].key", second(key="order\x0042")),
    ("events[1].priority", second(priority=86_401)),
    ("events[1].priority", second(priority=-86_401)),
    ("events", dispatch(*[event()] * 1_001)),
    ("events", dispatch(*[event("", b"x" * MEBIBYTE)] * 4)),
    ("request_id", dispatch(request_id="x" * 256)),
    ("request_id", dispatch(request_id="a\tb")),
    ("engines[0]", dispatch(engines=[TOMORROWS_ENGINE])),
    ("engines[1]", dispatch(engines=["ENGINE_LOCAL", TOMORROWS_ENGINE])),
    ("engines[0]", dispatch(engines=["ENGINE_UNSPECIFIED"])),
]

SUBSCRIBES = [
    *[("group", subscribe(group=name)) for name in BAD_NAMES],
    ("consumer", subscribe(consumer="x" * 256)),
    ("consumer", subscribe(consumer="a\x1b[31m")),
    ("engine", subscribe(engine=TOMORROWS_ENGINE)),
    ("max_in_flight", subscribe(max_in_flight=100_001)),
    ("max_in_flight_bytes", subscribe(max_in_flight_bytes=(1 << 30) + 1)),
    ("lease", subscribe(lease=duration(0))),
    ("lease", subscribe(lease=duration(-1))),
    ("lease", subscribe(lease=duration(0.099))),
    ("lease", subscribe(lease=duration(12 * 3600 + 1))),
    ("lease", subscribe(lease=Duration(seconds=30, nanos=-1))),
    ("disconnect_grace", subscribe(disconnect_grace=duration(-1))),
    ("disconnect_grace", subscribe(disconnect_grace=duration(3601))),
    ("held_lease_tokens", subscribe(held_lease_tokens=["x"] * 100_001)),
]

SETTLES = [
    ("Ack", "lease_tokens", event_bus_pb2.AckRequest()),
    ("Ack", "lease_tokens", event_bus_pb2.AckRequest(lease_tokens=["x"] * 10_001)),
    ("Nack", "nacks", event_bus_pb2.NackRequest()),
    ("Nack", "nacks", event_bus_pb2.NackRequest(nacks=[event_bus_pb2.Nack()] * 10_001)),
    ("Nack", "nacks[1].delay", nack(delay=duration(-1))),
    ("Nack", "nacks[1].delay", nack(delay=duration(TEN_YEARS_S + 1))),
    ("Nack", "nacks[1].delay", nack(delay=Duration(seconds=-1, nanos=1))),
    ("Extend", "lease_tokens", event_bus_pb2.ExtendRequest()),
    ("Extend", "lease_tokens", event_bus_pb2.ExtendRequest(lease_tokens=["x"] * 10_001)),
    ("Extend", "lease", event_bus_pb2.ExtendRequest(lease_tokens=["x"], lease=duration(0.01))),
    ("Extend", "lease", event_bus_pb2.ExtendRequest(lease_tokens=["x"], lease=duration(50_000))),
    ("Stop", "engines[0]", event_bus_pb2.StopRequest(engines=[TOMORROWS_ENGINE])),
    ("Stop", "engines[0]", event_bus_pb2.StopRequest(engines=["ENGINE_UNSPECIFIED"])),
    ("Stop", "drain_timeout", event_bus_pb2.StopRequest(drain_timeout=duration(-1))),
    ("Stop", "drain_timeout", event_bus_pb2.StopRequest(drain_timeout=duration(3601))),
]

LONGEST = "x" * 255

PAUSES = [
    ("Nack", "nacks[1].pause.scope", nack(pause={"duration": duration(1)})),
    ("Nack", "nacks[1].pause.scope", nack(pause={"duration": duration(1), "scope": TOMORROWS_ENGINE})),
    ("Nack", "nacks[1].pause.duration", nack(pause={"scope": "SCOPE_KEY"})),
    ("Nack", "nacks[1].pause.duration", nack(pause={"scope": "SCOPE_GROUP", "duration": duration(-1)})),
    ("Nack", "nacks[1].pause.duration", nack(pause={"scope": "SCOPE_GROUP", "duration": duration(3601)})),
]


def configure(group: str = "", **config: Any) -> admin_pb2.ConfigureTopicRequest:
    return admin_pb2.ConfigureTopicRequest(topic="t", group=group, config=admin_pb2.TopicConfig(**config))


def policy(group: str = "", **fields: Any) -> admin_pb2.ConfigureTopicRequest:
    return configure(group, retry_policy=admin_pb2.RetryPolicy(**fields))


def rate(events: int, per: float, burst: int = 0) -> dict[str, Any]:
    """The fields of a Rate; ``per`` is in seconds."""
    return {"events": events, "per": duration(per), "burst": burst}


def redrive(rate: float = 0, **conditions: Any) -> admin_pb2.RedriveEventsRequest:
    return admin_pb2.RedriveEventsRequest(topic="t", rate=rate, filter=admin_pb2.DeadLetterFilter(**conditions))


def reschedule(**fields: Any) -> admin_pb2.RescheduleEventsRequest:
    return admin_pb2.RescheduleEventsRequest(**{"topic": "t", "event_ids": ["a"]} | fields)


CHANGES = [
    ("ConfigureTopic", "config.retry_policy.max_retries", policy(max_retries=1_000_001)),
    ("ConfigureTopic", "config.retry_policy.backoff_initial", policy(backoff_initial=duration(0))),
    ("ConfigureTopic", "config.retry_policy.backoff_initial", policy(backoff_initial=duration(301))),
    ("ConfigureTopic", "config.retry_policy.backoff_max", policy(backoff_max=duration(0.4))),
    ("ConfigureTopic", "config.retry_policy.backoff_max", policy(backoff_max=duration(31 * 24 * 3600))),
    ("ConfigureTopic", "config.retry_policy.backoff_max", policy(backoff_max=Duration(seconds=1, nanos=-1))),
    (
        "ConfigureTopic",
        "config.retry_policy.backoff_max",
        policy(backoff_initial=duration(2), backoff_max=duration(1)),
    ),
    ("ConfigureTopic", "config.lease", configure(lease=duration(0.05))),
    ("ConfigureTopic", "config.lease", configure(lease=duration(12 * 3600 + 1))),
    ("ConfigureTopic", "config.max_queued", configure(max_queued=2**63)),
    ("ConfigureTopic", "config.dead_letter_retention", configure(dead_letter_retention=duration(-1))),
    ("ConfigureTopic", "config.dead_letter_retention", configure(dead_letter_retention=duration(TEN_YEARS_S + 1))),
    ("ConfigureTopic", "config.dedupe_window", configure(dedupe_window=duration(7 * 24 * 3600 + 1))),
    ("ConfigureTopic", "config.partitions", configure(partitions=0)),
    ("ConfigureTopic", "config.partitions", configure(partitions=2)),
    ("ConfigureTopic", "config.partitions", configure(partitions=65)),
    ("ConfigureTopic", "config.lease", configure("default", lease=duration(1))),
    ("ConfigureTopic", "config.max_queued", configure("default", max_queued=0)),
    ("ConfigureTopic", "group", policy("a b", max_retries=1)),
    ("ConfigureTopic", "config.limits.max_in_flight", configure(limits={"max_in_flight": 1_000_001})),
    ("ConfigureTopic", "config.limits.rate.events", configure(limits={"rate": {}})),
    ("ConfigureTopic", "config.limits.rate.per", configure(limits={"rate": {"events": 1}})),
    ("ConfigureTopic", "config.limits.rate.per", configure(limits={"rate": rate(1, -1)})),
    ("ConfigureTopic", "config.limits.rate.per", configure("default", limits={"rate": rate(1, 86_401)})),
    ("ConfigureTopic", "config.limits.rate.events", configure(limits={"rate": rate(1_000_001, 60)})),
    ("ConfigureTopic", "config.limits.rate.events", configure(limits={"rate": rate(2_000, 0.001)})),
    ("ConfigureTopic", "config.limits.rate.burst", configure(limits={"rate": rate(1, 1, 1_000_001)})),
    ("ConfigureTopic", "config.keys.max_in_flight", configure(keys={"max_in_flight": 1_001})),
    ("ConfigureTopic", "config.keys.rate.events", configure(keys={"rate": {}})),
    ("ConfigureTopic", "config.keys.rate.per", configure("default", keys={"rate": rate(1, 0)})),
    ("ConfigureTopic", "config.keys.rate", configure(keys={"max_in_flight": 0, "rate": rate(1, 1)})),
    ("ConfigureTopic", "config.keys.on_dead", configure(keys={"on_dead": "ON_DEAD_HOLD", "max_in_flight": 2})),
    ("ConfigureTopic", "config.keys.on_dead", configure(keys={"on_dead": "ON_DEAD_HOLD", "max_in_flight": 0})),
    ("ConfigureTopic", "config.keys.on_dead", configure(keys={"on_dead": TOMORROWS_ENGINE})),
    ("ConfigureTopic", "config.keys.max_blocked", configure(keys={"max_blocked": 2**63})),
    ("ConfigureTopic", "engine", admin_pb2.ConfigureTopicRequest(topic="t", engine=TOMORROWS_ENGINE)),
    ("DeleteTopic", "engine", admin_pb2.DeleteTopicRequest(topic="t", engine=TOMORROWS_ENGINE)),
    ("DeleteGroup", "group", admin_pb2.DeleteGroupRequest(topic="t", group="a b")),
    ("PauseGroup", "group", admin_pb2.PauseGroupRequest(topic="t", group="a b")),
    ("ResumeGroup", "group", admin_pb2.ResumeGroupRequest(topic="t", group="a b")),
    ("CancelEvents", "event_ids", admin_pb2.CancelEventsRequest(topic="t")),
    ("CancelEvents", "event_ids", admin_pb2.CancelEventsRequest(topic="t", event_ids=["x"] * 1_001)),
    ("CancelEvents", "event_ids[2]", admin_pb2.CancelEventsRequest(topic="t", event_ids=["a", "b", ""])),
    ("CancelEvents", "event_ids[1]", admin_pb2.CancelEventsRequest(topic="t", event_ids=[LONGEST, "x" * 256])),
    ("CancelEvents", "group", admin_pb2.CancelEventsRequest(topic="t", event_ids=["a"], group="a b")),
    ("RescheduleEvents", "event_ids", reschedule(event_ids=[], delay=duration(1))),
    ("RescheduleEvents", "event_ids[0]", reschedule(event_ids=["a\nb"], delay=duration(1))),
    ("RescheduleEvents", "due", reschedule()),
    ("RescheduleEvents", "delay", reschedule(delay=duration(-1))),
    ("RescheduleEvents", "delay", reschedule(delay=duration(TEN_YEARS_S + 1))),
    ("RescheduleEvents", "deliver_at", reschedule(deliver_at=Timestamp(seconds=253_402_300_799))),
    ("RescheduleEvents", "deliver_at", reschedule(deliver_at=Timestamp(nanos=-1))),
    ("RedriveEvents", "rate", redrive(-1)),
    ("RedriveEvents", "rate", redrive(0.0001)),
    ("RedriveEvents", "rate", redrive(1_000_001)),
    ("RedriveEvents", "rate", redrive(float("nan"))),
    ("RedriveEvents", "rate", redrive(float("inf"))),
    ("RedriveEvents", "filter.min_age", redrive(min_age=duration(-1))),
    ("RedriveEvents", "filter.min_age", redrive(min_age=Duration(nanos=1_000_000_000))),
    ("RedriveEvents", "filter.error_contains", redrive(error_contains="x" * 4_097)),
    ("RedriveEvents", "filter.event_ids", redrive(event_ids=["x"] * 1_001)),
    ("RedriveEvents", "filter.event_ids[1]", redrive(event_ids=["a", ""])),
    (
        "PurgeEvents",
        "filter.min_age",
        admin_pb2.PurgeEventsRequest(topic="t", filter=admin_pb2.DeadLetterFilter(min_age=duration(-1))),
    ),
    ("PurgeEvents", "group", admin_pb2.PurgeEventsRequest(topic="t", group="a b")),
]

LISTS = [
    ("ListTopics", "page_size", admin_pb2.ListTopicsRequest(page_size=1_001)),
    ("ListTopics", "page_token", admin_pb2.ListTopicsRequest(page_token="made up")),
    ("ListTopics", "engine", admin_pb2.ListTopicsRequest(engine=TOMORROWS_ENGINE)),
    ("GetTopic", "engine", admin_pb2.GetTopicRequest(topic="t", engine=TOMORROWS_ENGINE)),
    ("GetEvent", "event_id", admin_pb2.GetEventRequest(topic="t")),
    ("ListEvents", "state", admin_pb2.ListEventsRequest(topic="t")),
    ("ListEvents", "state", admin_pb2.ListEventsRequest(topic="t", state=TOMORROWS_ENGINE)),
    ("ListEvents", "order", admin_pb2.ListEventsRequest(topic="t", state="EVENT_STATE_DEAD", order=TOMORROWS_ENGINE)),
    ("ListEvents", "group", admin_pb2.ListEventsRequest(topic="t", state="EVENT_STATE_DEAD", group="a b")),
    ("ListEvents", "page_size", admin_pb2.ListEventsRequest(topic="t", state="EVENT_STATE_DEAD", page_size=1_001)),
    ("ListEvents", "page_token", admin_pb2.ListEventsRequest(topic="t", state="EVENT_STATE_DEAD", page_token="e30=")),
]

CALLS: list[tuple[str, str, Any]] = [
    *[("Dispatch", field, request) for field, request in DISPATCHES],
    *[("Subscribe", field, request) for field, request in SUBSCRIBES],
    *SETTLES,
    *PAUSES,
    *LISTS,
    *CHANGES,
]


def calls() -> list[Any]:
    """The calls, each under its own name."""
    seen: dict[str, int] = {}
    named: list[Any] = []
    for method, field, request in CALLS:
        name = f"{method}-{field}"
        seen[name] = seen.get(name, 0) + 1
        named.append(pytest.param(method, field, request, id=f"{name}-{seen[name]}"))
    return named


async def refused(wire: Wire, method: str, request: Any) -> Failure:
    """The call's failure; a stream may fail only at its first frame."""
    if method == "Subscribe":
        return await failure_of(wire.open(request).next_frame())
    stub = wire.bus if hasattr(wire.bus, method) else wire.admin
    return await failure_of(getattr(stub, method)(request))


@pytest.mark.parametrize(("method", "field", "request_"), calls())
async def test_bad_input_is_refused_and_the_field_is_named(wire: Wire, method: str, field: str, request_: Any) -> None:
    before = await wire.topic_names()
    failure = await refused(wire, method, request_)
    assert (failure.code, failure.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_ARGUMENT")
    assert (failure.domain, failure.fields, failure.retry_after_us) == ("duebus", [field], None)
    assert failure.message.startswith(f"{field}: ")
    assert len(failure.message) < 300
    assert await wire.topic_names() == before, "nothing was stored"


WITH_TOPIC = [
    ("Dispatch", lambda name: event_bus_pb2.DispatchRequest(topic=name, events=[event("a")])),
    ("Subscribe", lambda name: event_bus_pb2.SubscribeRequest(topic=name)),
    ("GetTopic", lambda name: admin_pb2.GetTopicRequest(topic=name)),
    ("GetEvent", lambda name: admin_pb2.GetEventRequest(topic=name, event_id="a")),
    ("ListEvents", lambda name: admin_pb2.ListEventsRequest(topic=name, state="EVENT_STATE_DEAD")),
    ("ConfigureTopic", lambda name: admin_pb2.ConfigureTopicRequest(topic=name)),
    ("DeleteTopic", lambda name: admin_pb2.DeleteTopicRequest(topic=name)),
    ("DeleteGroup", lambda name: admin_pb2.DeleteGroupRequest(topic=name)),
    ("PauseGroup", lambda name: admin_pb2.PauseGroupRequest(topic=name)),
    ("ResumeGroup", lambda name: admin_pb2.ResumeGroupRequest(topic=name)),
    ("CancelEvents", lambda name: admin_pb2.CancelEventsRequest(topic=name, event_ids=["a"])),
    ("RescheduleEvents", lambda name: admin_pb2.RescheduleEventsRequest(topic=name, event_ids=["a"])),
    ("RedriveEvents", lambda name: admin_pb2.RedriveEventsRequest(topic=name)),
    ("PurgeEvents", lambda name: admin_pb2.PurgeEventsRequest(topic=name)),
]


@pytest.mark.parametrize(("method", "request_for"), WITH_TOPIC)
async def test_an_invalid_topic_is_refused(wire: Wire, method: str, request_for: Any) -> None:
    before = await wire.topic_names()
    for name in BAD_NAMES:
        failure = await refused(wire, method, request_for(name))
        assert (failure.code, failure.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_ARGUMENT"), name
        assert failure.fields == ["topic"]
    missing = await refused(wire, method, request_for(""))
    assert (missing.code, missing.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "NO_TOPIC_SPECIFIED")
    assert missing.fields == ["topic"]
    assert await wire.topic_names() == before


@pytest.mark.parametrize("name", ["a", "0", "A.b_c-9", "a" * 255])
async def test_a_valid_topic_is_accepted(wire: Wire, name: str) -> None:
    assert (await wire.subscribe(name)).started.session_id


async def test_a_dispatch_without_events_is_refused(wire: Wire, topic: str) -> None:
    failure = await failure_of(wire.dispatch(topic))
    assert (failure.code, failure.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "NO_EVENT_SPECIFIED")
    assert failure.fields == ["events"]
    assert topic not in await wire.topic_names()


async def test_the_largest_valid_request_is_accepted(wire: Wire, topic: str) -> None:
    largest = event("x" * 255, b"x" * MEBIBYTE, attributes={"k": "x" * ((64 << 10) - 1)}, content_type="x" * 255)
    await wire.dispatch(topic, largest, request_id="x" * 255)
    await wire.dispatch(topic, *[event("", b"x" * 4_000)] * 1_000)
    await wire.dispatch(topic, event("later", delay=TEN_YEARS_S))
    assert (await wire.topic(topic)).queued == 1_002
    stream = await wire.subscribe(topic, max_in_flight=100_000, max_in_flight_bytes=1 << 30, consumer="x" * 255)
    assert (await stream.one()).event == largest


async def test_one_bad_event_rejects_its_whole_request(wire: Wire, topic: str) -> None:
    await wire.dispatch(topic, "before")
    failure = await failure_of(wire.dispatch(topic, "a", "b", event("c", delay=-1), "d"))
    assert failure.fields == ["events[2].delay"]
    assert (await wire.topic(topic)).queued == 1
    assert not (await wire.dispatch(topic, "a", "b")).duplicate_event_ids


async def test_one_bad_nack_rejects_its_whole_request(wire: Wire, topic: str) -> None:
    stream = await wire.subscribe(topic)
    await wire.dispatch(topic, "a")
    good = event_bus_pb2.Nack(lease_token=(await stream.one()).lease_token, dead_letter=True)
    bad = event_bus_pb2.Nack(lease_token="x", delay=duration(-1))
    failure = await failure_of(wire.bus.Nack(event_bus_pb2.NackRequest(nacks=[good, bad])))
    assert failure.fields == ["nacks[1].delay"]
    assert (await wire.group(topic)).leased == 1


# --- what no generated client would send ------------------------------------------------------------------------------


FIELD_12 = b"\x60\x01"
"""A varint 1 as field number 12, which no message of the contract has."""


@pytest.mark.parametrize(
    ("service", "method", "request_", "field"),
    [
        ("EventBus", "Dispatch", dispatch().SerializeToString() + FIELD_12, "12"),
        (
            "EventBus",
            "Dispatch",
            dispatch(*[event("a")] * 3).SerializeToString() + b"\x12\x02" + FIELD_12,
            "events[3].12",
        ),
        ("EventBus", "Ack", event_bus_pb2.AckRequest(lease_tokens=["x"]).SerializeToString() + FIELD_12, "12"),
        ("EventBus", "Nack", b"\x0a\x02" + FIELD_12, "nacks[0].12"),
        ("EventBus", "Extend", event_bus_pb2.ExtendRequest(lease_tokens=["x"]).SerializeToString() + FIELD_12, "12"),
        ("EventBus", "Stop", FIELD_12, "12"),
        ("EventBusAdmin", "ListTopics", FIELD_12, "12"),
        ("EventBusAdmin", "GetTopic", FIELD_12, "12"),
        ("EventBusAdmin", "ListEvents", FIELD_12, "12"),
        ("EventBusAdmin", "GetEvent", FIELD_12, "12"),
        ("EventBusAdmin", "DeleteTopic", FIELD_12, "12"),
        ("EventBus", "Dispatch", b"\xff\xff\xff", "request"),
        ("EventBusAdmin", "ListTopics", b"\x0a\xffcut off", "request"),
    ],
)
async def test_a_request_outside_the_contract_is_refused(
    wire: Wire, service: str, method: str, request_: bytes, field: str
) -> None:
    before = await wire.topic_names()
    failure = await failure_of(wire.raw(f"{service}/{method}")(request_))
    assert (failure.code, failure.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_ARGUMENT")
    assert failure.fields == [field]
    assert await wire.topic_names() == before


@pytest.mark.parametrize(
    ("request_", "field"), [(subscribe().SerializeToString() + FIELD_12, "12"), (b"\xff", "request")]
)
async def test_a_stream_request_outside_the_contract_is_refused(wire: Wire, request_: bytes, field: str) -> None:
    stream = wire.raw_stream("EventBus/Subscribe")(request_)
    failure = await failure_of(stream.read())
    assert (failure.code, failure.fields) == (grpc.StatusCode.INVALID_ARGUMENT, [field])


@pytest.mark.parametrize("method", ["EventBus/NoSuch", "NoSuchService/Dispatch"])
async def test_an_unknown_method_is_unimplemented(wire: Wire, method: str) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await wire.raw(method)(b"")
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


async def test_a_request_that_is_too_large_is_refused_and_the_connection_stays(wire: Wire, topic: str) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await wire.dispatch(topic, event("a", b"x" * (17 << 20)))
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "larger than max" in str(caught.value.details())
    assert topic not in await wire.topic_names()


# --- page tokens ------------------------------------------------------------------------------------------------------


async def test_a_page_token_belongs_to_its_request(wire: Wire, topic: str) -> None:
    await wire.dispatch(topic, "a", "b", event("c", delay=3600), event("d", delay=3600))
    await wire.dispatch(f"{topic}.other", "a")
    ready: dict[str, Any] = {"topic": topic, "state": "EVENT_STATE_READY", "page_size": 1}
    token = (await wire.admin.ListEvents(admin_pb2.ListEventsRequest(**ready))).next_page_token
    assert token
    for change in (
        {"topic": f"{topic}.other"},
        {"state": "EVENT_STATE_SCHEDULED"},
        {"order": "ORDER_NEWEST_FIRST"},
        {"engine": "ENGINE_LOCAL"},
        {"page_token": token[:-4]},
    ):
        request = admin_pb2.ListEventsRequest(**({**ready, "page_token": token} | change))
        failure = await failure_of(wire.admin.ListEvents(request))
        assert (failure.code, failure.fields) == (grpc.StatusCode.INVALID_ARGUMENT, ["page_token"]), change
    failure = await failure_of(wire.admin.ListTopics(admin_pb2.ListTopicsRequest(page_token=token)))
    assert failure.fields == ["page_token"]
    larger = admin_pb2.ListEventsRequest(**{**ready, "page_token": token, "page_size": 5})
    assert [info.event.id for info in (await wire.admin.ListEvents(larger)).events] == ["b"], "the size may change"
