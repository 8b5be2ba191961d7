"""Ephemeral groups over the wire, on both engines: their names, returning workers, and their removal."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import grpc
import pytest
from duebus.v1 import admin_pb2, event_bus_pb2
from support.builders import unique_name
from support.wire import connect, failure_of, ids, tokens

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from support.server_process import ServerProcess
    from support.wire import Wire


@pytest.fixture
async def wire(server: ServerProcess) -> AsyncIterator[Wire]:
    async with connect(server.address) as opened:
        yield opened


async def group_names(wire: Wire, topic: str) -> list[str]:
    """The topic's groups; none when it is gone."""
    try:
        return [group.group for group in (await wire.topic(topic)).groups]
    except grpc.aio.AioRpcError as error:
        if error.code() is not grpc.StatusCode.NOT_FOUND:
            raise
        return []


async def until_gone(wire: Wire, topic: str, group: str) -> None:
    """Wait until a group is no longer there."""
    while group in await group_names(wire, topic):
        pass  # each check is a round trip


async def test_every_subscriber_without_a_group_name_has_its_own_group(wire: Wire) -> None:
    topic = unique_name()
    streams = [await wire.subscribe(topic, ephemeral=True) for _ in range(3)]
    names = {stream.started.group for stream in streams}

    await wire.dispatch(topic, "event")

    assert len(names) == 3
    for name in names:
        assert re.fullmatch(r"ephemeral-[0-9a-f]{32}", name)
    for stream in streams:
        delivery = await stream.one()
        assert (delivery.event.id, delivery.group) == ("event", stream.started.group)
        assert await wire.ack(delivery) == []
    assert {group.group for group in (await wire.topic(topic)).groups if group.ephemeral} == names


async def test_started_has_the_group_whatever_was_requested(wire: Wire) -> None:
    topic = unique_name()

    assert (await wire.subscribe(topic)).started.group == "default"
    assert (await wire.subscribe(topic, group="billing")).started.group == "billing"
    assert (await wire.subscribe(topic, group="screens", ephemeral=True)).started.group == "screens"


async def test_a_worker_that_reconnects_in_time_keeps_the_group_and_its_leases(wire: Wire) -> None:
    topic = unique_name()
    first = await wire.subscribe(topic, ephemeral=True, max_in_flight=1, disconnect_grace=30)
    group = first.started.group
    await wire.dispatch(topic, "held", "waits")
    held = await first.one()
    await first.cancel()
    await wire.until_subscribers(topic, 0, group)

    again = await wire.subscribe(topic, group=group, ephemeral=True, held_lease_tokens=tokens([held]))

    assert again.started.group == group
    assert again.started.lost_lease_tokens == []
    assert ids([await again.one()]) == ["waits"]
    assert await wire.ack(held) == []


async def test_the_group_is_removed_after_its_last_stream(wire: Wire) -> None:
    topic = unique_name()
    stream = await wire.subscribe(topic, ephemeral=True)
    await wire.dispatch(topic, "held", "waits")
    held = (await stream.take(2))[0]
    await stream.cancel()

    await until_gone(wire, topic, stream.started.group)

    (failure,) = await wire.ack(held)
    assert failure.reason == event_bus_pb2.LeaseFailure.REASON_SETTLED
    assert [(group.group, group.ready) for group in (await wire.topic(topic)).groups] == [("", 2)]


@pytest.mark.parametrize("ephemeral", [True, False])
async def test_subscribing_does_not_change_the_kind_of_a_group(wire: Wire, ephemeral: bool) -> None:
    topic = unique_name()
    await wire.subscribe(topic, group="screens", ephemeral=ephemeral)

    failure = await failure_of(wire.subscribe(topic, group="screens", ephemeral=not ephemeral))

    assert (failure.code, failure.fields) == (grpc.StatusCode.INVALID_ARGUMENT, ["ephemeral"])
    assert "'screens'" in failure.message
    assert len((await wire.group(topic, "screens")).subscribers) == 1


async def test_deleting_the_group_ends_its_streams(wire: Wire) -> None:
    topic = unique_name()
    stream = await wire.subscribe(topic, ephemeral=True)

    await wire.admin.DeleteGroup(admin_pb2.DeleteGroupRequest(topic=topic, group=stream.started.group))

    assert (await stream.closing()).reason == event_bus_pb2.Closing.REASON_GROUP_DELETED


async def test_a_drain_leaves_the_worker_time_to_settle(start_server: Callable[..., ServerProcess]) -> None:
    server = start_server("--drain-timeout", "20s")
    topic = unique_name()
    async with connect(server.address) as wire:
        stream = await wire.subscribe(topic, ephemeral=True, disconnect_grace=0)
        await wire.dispatch(topic, "event")
        held = await stream.one()
        server.process.terminate()
        assert (await stream.closing()).reason == event_bus_pb2.Closing.REASON_DRAINING

        assert await wire.ack(held) == []
    assert server.wait() == 0
