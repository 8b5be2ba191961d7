"""Lease tokens: only the bus makes them, each settles one lease, and none can be altered."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from duebus.v1 import event_bus_pb2
from support.wire import connect, event

if TYPE_CHECKING:
    from collections.abc import Callable

    from support.server_process import ServerProcess
    from support.wire import Wire

MALFORMED = event_bus_pb2.LeaseFailure.REASON_MALFORMED
ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_=+/ !.é"


async def assert_malformed(wire: Wire, tokens: list[str]) -> None:
    """No verb accepts any of them."""
    for failures in (await wire.ack(*tokens), await wire.nack(*tokens, dead_letter=True), await wire.extend(*tokens)):
        taken = set(tokens) - {failure.lease_token for failure in failures}
        assert not taken
        assert {failure.reason for failure in failures} == {MALFORMED}


async def test_a_token_with_one_changed_character_is_malformed(wire: Wire, topic: str) -> None:
    stream = await wire.subscribe(topic)
    await wire.dispatch(topic, "a")
    delivery = await stream.one()
    token = delivery.lease_token
    changed = {
        token[:index] + letter + token[index + 1 :]
        for index in range(len(token))
        for letter in ALPHABET
        if letter != token[index]
    }
    await assert_malformed(wire, sorted(changed))
    assert await wire.ack(delivery) == [], "the original still works"


async def test_a_longer_or_shorter_token_is_malformed(wire: Wire, topic: str) -> None:
    stream = await wire.subscribe(topic)
    await wire.dispatch(topic, "a")
    delivery = await stream.one()
    token = delivery.lease_token
    tokens = [
        token + "=",
        token + "A",
        "A" + token,
        token + "\n",
        " " + token,
        token * 2,
        token[:10] + "!" + token[10:],
    ]
    tokens += [token[:length] for length in range(len(token))]
    await assert_malformed(wire, tokens)
    assert await wire.ack(delivery) == []


@pytest.mark.parametrize(
    "token", ["", "x", "\x00", "größe", "a" * 2_048, "A" * 100_000, "====", "local/t/default/1/a"], ids=range(8)
)
async def test_a_made_up_token_is_malformed(wire: Wire, token: str) -> None:
    await assert_malformed(wire, [token])


async def test_a_token_with_another_lease_is_malformed(wire: Wire, topic: str) -> None:
    """A token can be read, but not turned into another one."""
    stream = await wire.subscribe(topic)
    await wire.dispatch(topic, "a", "b")
    a, b = await stream.take(2)
    digest, slash, lease = a.lease_token.partition("local/")
    assert slash + lease == f"local/{topic}/default/{a.fencing_token:x}/a"
    others = [
        f"local/{topic}/default/{b.fencing_token:x}/b",
        f"local/{topic}/default/{a.fencing_token + 1:x}/a",
        f"local/{topic}/audit/{a.fencing_token:x}/a",
        f"redis/{topic}/default/{a.fencing_token:x}/a",
        f"local/{topic}/default/{a.fencing_token:x}",
        f"local/{topic}/default/-1/a",
    ]
    await assert_malformed(wire, [digest + other for other in others])
    assert (await wire.group(topic)).leased == 2


async def test_a_token_of_another_server_is_malformed(start_server: Callable[..., ServerProcess], topic: str) -> None:
    """Even if the other holds an event of the same id."""
    async with connect(start_server().address) as wire, connect(start_server().address) as elsewhere:
        for bus in (wire, elsewhere):
            await bus.dispatch(topic, "a")
        foreign, own = [await (await bus.subscribe(topic)).one() for bus in (elsewhere, wire)]
        assert foreign.event.id == own.event.id
        await assert_malformed(wire, [foreign.lease_token])
        stream = await wire.subscribe(topic, held_lease_tokens=[foreign.lease_token])
        assert list(stream.started.lost_lease_tokens) == [foreign.lease_token]
        assert await elsewhere.ack(foreign) == []
        assert await wire.ack(own) == []


async def test_forged_tokens_do_not_move_leases(wire: Wire, topic: str) -> None:
    stream = await wire.subscribe(topic)
    await wire.dispatch(topic, "a")
    delivery = await stream.one()
    forged = delivery.lease_token[:-3] + "AAA"
    thief = await wire.subscribe(topic, held_lease_tokens=[forged, "", "x"])
    assert list(thief.started.lost_lease_tokens) == [forged, "", "x"]
    assert await wire.ack(delivery) == []


async def test_a_token_is_valid_only_in_its_group(wire: Wire, topic: str) -> None:
    """A lease of one group can't be moved to another."""
    stream = await wire.subscribe(topic, group="billing")
    await wire.dispatch(topic, "a")
    delivery = await stream.one()
    other = await wire.subscribe(topic, group="audit", held_lease_tokens=[delivery.lease_token])
    assert list(other.started.lost_lease_tokens) == [delivery.lease_token]
    assert await wire.ack(delivery) == []


async def test_tokens_of_many_topics_and_groups_are_settled_in_one_call(wire: Wire, topic: str) -> None:
    topics = [f"{topic}.{number}" for number in range(5)]
    streams = [await wire.subscribe(name, group=group) for name in topics for group in ("billing", "audit")]
    for name in topics:
        await wire.dispatch(name, "a", "b")
    deliveries = [delivery for stream in streams for delivery in await stream.take(2)]
    mixed: list[event_bus_pb2.Delivery | str] = [*deliveries[::2], "forged", *deliveries[1::2]]
    failures = await wire.ack(*mixed)
    assert [failure.lease_token for failure in failures] == ["forged"]
    assert [(await wire.topic(name)).queued for name in topics] == [0] * 5


async def test_names_with_slashes_work_in_tokens(wire: Wire, topic: str) -> None:
    stream = await wire.subscribe(topic)
    for event_id in ("a/b/c/d/e/f", "/", "local/x/y/1/z", "größe 🎉"):
        await wire.dispatch(topic, event(event_id))
        assert await wire.ack(await stream.one()) == []


async def test_the_largest_list_of_lost_leases_fits_a_frame(wire: Wire, topic: str) -> None:
    held = [f"{number:0>72}" for number in range(100_000)]
    stream = await wire.subscribe(topic, held_lease_tokens=held)
    lost = list(stream.started.lost_lease_tokens)
    assert lost == held[: len(lost)]
    assert len(lost) > 40_000
