"""Interceptors come between a caller and each dispatch."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import duebus
import pytest
from duebus import Dispatched, NewEvent, aio, errors
from duebus.aio import Client
from unit.client.fake_bus import FakeBus


def marked(event: NewEvent, mark: str) -> NewEvent:
    """The event with a mark added to its attribute `marks`."""
    attributes = dict(event.attributes or {})
    return replace(event, attributes=attributes | {"marks": attributes.get("marks", "") + mark})


def marking(mark: str) -> aio.DispatchInterceptor:
    async def interceptor(topic: str, events: Sequence[NewEvent], call_next: aio.DispatchNext) -> list[Dispatched]:
        return await call_next(topic, [marked(each, mark) for each in events])

    return interceptor


def marks_sent(bus: FakeBus) -> list[str]:
    (request,) = bus.requests["Dispatch"]
    return [event.attributes["marks"] for event in request.events]


@pytest.mark.parametrize("more", [{}, {"request_id": "mine"}])
async def test_the_first_interceptor_of_a_dispatch_is_the_outermost(bus: FakeBus, more: dict[str, Any]) -> None:
    async with Client(bus.target, interceptors=[marking("a"), marking("b")]) as client:
        result = await client.dispatch("orders", {"id": 1}, attributes={"marks": "-"}, key="k", **more)

    assert (result, marks_sent(bus)) == (Dispatched("event-0", False), ["-ab"])
    (request,) = bus.requests["Dispatch"]
    assert (request.topic, request.events[0].key, request.events[0].data) == ("orders", "k", b'{"id":1}')


async def test_interceptors_get_all_events_of_dispatch_many_as_new_events(bus: FakeBus) -> None:
    async with Client(bus.target, interceptors=[marking("a"), marking("b")]) as client:
        results = await client.dispatch_many("orders", ["x", NewEvent(data="y", id="mine")])

    assert [each.event_id for each in results] == ["event-0", "mine"]
    assert marks_sent(bus) == ["ab", "ab"]


def test_the_sync_client_has_interceptors_that_are_plain_functions(bus: FakeBus) -> None:
    def mark(topic: str, events: Sequence[NewEvent], call_next: duebus.DispatchNext) -> list[Dispatched]:
        return call_next(topic, [marked(each, "a") for each in events])

    with duebus.Client(bus.target, interceptors=[mark]) as client:
        assert client.dispatch("orders", "x").event_id == "event-0"
        assert client.dispatch_many("orders", iter(["x", "y"]))[1].event_id == "event-1"

    assert [[each.attributes["marks"] for each in sent.events] for sent in bus.requests["Dispatch"]] == [
        ["a"],
        ["a"] * 2,
    ]


async def test_an_interceptor_may_change_the_topic_and_add_events(bus: FakeBus) -> None:
    async def twice(topic: str, events: Sequence[NewEvent], call_next: aio.DispatchNext) -> list[Dispatched]:
        return (await call_next(f"eu.{topic}", [*events, *events]))[: len(events)]

    async with Client(bus.target, interceptors=[twice]) as client:
        await client.dispatch("orders", "x")

    (request,) = bus.requests["Dispatch"]
    assert (request.topic, [each.data for each in request.events]) == ("eu.orders", [b"x", b"x"])


@pytest.mark.parametrize(("more", "different_ids"), [({}, 2), ({"request_id": "mine"}, 1)])
async def test_each_call_of_the_next_is_a_dispatch_with_the_request_id_of_the_caller(
    bus: FakeBus, more: dict[str, Any], different_ids: int
) -> None:
    async def twice(topic: str, events: Sequence[NewEvent], call_next: aio.DispatchNext) -> list[Dispatched]:
        await call_next(topic, events)
        return await call_next(topic, events)

    async with Client(bus.target, interceptors=[twice]) as client:
        await client.dispatch("orders", "x", **more)
        await client.dispatch_many("orders", ["x"], **more)

    sent = [request.request_id for request in bus.requests["Dispatch"]]
    assert [len(set(ids)) for ids in (sent[:2], sent[2:])] == [different_ids, different_ids]


async def test_an_interceptor_may_answer_itself_and_nothing_is_sent(bus: FakeBus) -> None:
    async def dropping(_: str, events: Sequence[NewEvent], __: aio.DispatchNext) -> list[Dispatched]:
        return [Dispatched("dropped", False) for _ in events]

    async with Client(bus.target, interceptors=[dropping]) as client:
        assert (await client.dispatch("orders", "x")).event_id == "dropped"

    assert not bus.requests["Dispatch"]


async def test_an_interceptor_sees_the_error_of_a_dispatch(bus: FakeBus) -> None:
    seen: list[errors.DueBusError] = []

    async def watching(topic: str, events: Sequence[NewEvent], call_next: aio.DispatchNext) -> list[Dispatched]:
        try:
            return await call_next(topic, events)
        except errors.DueBusError as error:
            seen.append(error)
            raise

    async with Client(bus.target, interceptors=[watching]) as client:
        with pytest.raises(errors.InvalidArgument, match=r"^delay: "):
            await client.dispatch("orders", "x", delay=float("nan"))
        with pytest.raises(errors.InvalidArgument, match=r"^events\[1\]\.delay: "):
            await client.dispatch_many("orders", ["x", NewEvent(data="x", delay=float("nan"))])

    assert len(seen) == 2


@pytest.mark.parametrize(
    ("returned", "problem"),
    [(None, "must return a list of results, not NoneType"), ([], "returned 0 results for 1 events")],
)
async def test_an_interceptor_that_returns_no_result_for_an_event_is_an_error(
    bus: FakeBus, returned: Any, problem: str
) -> None:
    async def forgetting(*_: object) -> Any:
        return returned

    async with Client(bus.target, interceptors=[forgetting]) as client:
        with pytest.raises(TypeError, match=problem):
            await client.dispatch("orders", "x")
        with pytest.raises(TypeError, match=problem):
            await client.dispatch_many("orders", ["x"])


async def test_a_single_payload_is_refused_as_without_interceptors(bus: FakeBus) -> None:
    async with Client(bus.target, interceptors=[marking("a")]) as client:
        with pytest.raises(TypeError, match=r"^events: expected an iterable of events, got a single str$"):
            await client.dispatch_many("orders", "xyz")


@pytest.mark.parametrize("of", [aio.Client, duebus.Client, duebus.Worker])
@pytest.mark.parametrize(
    ("interceptors", "problem"),
    [
        (print, "^interceptors: expected a list of functions, got one function$"),
        ([print, "trace"], r"^interceptors\[1\]: 'trace' can't be called$"),
    ],
)
def test_what_is_no_list_of_functions_is_refused(of: Any, interceptors: Any, problem: str) -> None:
    with pytest.raises(TypeError, match=problem):
        of(interceptors=interceptors)
