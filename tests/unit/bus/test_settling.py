"""Settle: each token finds its engine and group, in one engine call each."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from duebus_server.bus import settling
from duebus_server.bus.engines import Engines, EngineStatus
from duebus_server.bus.settling import LeaseFailure, NackCommand, Settling
from duebus_server.domain.model import LeaseFailureReason, LeaseRef, NackAction, Refill
from duebus_server.domain.states import EventState
from unit.bus.conftest import LOCAL, REDIS, TOPIC

if TYPE_CHECKING:
    from collections.abc import Sequence

    from unit.bus.conftest import Bus


@pytest.mark.parametrize(("partitions", "sizes"), [(1, [1, 2, 2]), (2, [1, 4])])
async def test_acks_that_arrive_meanwhile_share_a_call_with_room_for_each_partition(
    partitions: int, sizes: list[int], bus: Bus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settling, "MAX_ACKS_AT_ONCE", 2)
    bus.other.partition_count = partitions
    await bus.dispatch(*"abcde", engines=[REDIS])
    leased = await bus.lease(bus.other)

    failures = await asyncio.gather(*(bus.settling.ack([bus.token(bus.other, one)]) for one in leased))

    assert failures == [[]] * 5
    assert bus.other.acked == sizes


async def test_tokens_of_two_engines_are_settled_in_one_call(bus: Bus) -> None:
    await bus.dispatch("a", "b", engines=[LOCAL, REDIS])
    tokens = [bus.token(engine, leased) for engine in (bus.local, bus.other) for leased in await bus.lease(engine)]
    assert await bus.settling.ack([tokens[3], tokens[0], "forged", tokens[2], tokens[1]]) == [
        LeaseFailure("forged", LeaseFailureReason.MALFORMED)
    ]
    assert (await bus.local.queued(), await bus.other.queued()) == (0, 0)


async def test_the_tokens_of_a_group_are_one_engine_call(bus: Bus, monkeypatch: pytest.MonkeyPatch) -> None:
    await bus.dispatch("a", "b", "c")
    calls: list[Sequence[LeaseRef]] = []
    ack = bus.local.ack

    async def counted(
        topic: str, group: str, leases: Sequence[LeaseRef], refill: Refill | None = None
    ) -> list[LeaseFailureReason | None]:
        calls.append(leases)
        return await ack(topic, group, leases, refill)

    monkeypatch.setattr(bus.local, "ack", counted)
    await bus.settling.ack([bus.token(bus.local, leased) for leased in await bus.lease(bus.local)])
    assert [len(leases) for leases in calls] == [3]


async def test_each_nack_has_its_own_action(bus: Bus) -> None:
    await bus.dispatch("retry", "soon", "dead", "release")
    retry, soon, dead, release = [bus.token(bus.local, leased) for leased in await bus.lease(bus.local)]
    nacks = [
        NackCommand(dead, NackAction.DEAD_LETTER, error="hopeless"),
        NackCommand("forged"),
        NackCommand(release, NackAction.RELEASE),
        NackCommand(retry, error="boom"),
        NackCommand(soon, delay_us=0),
    ]
    assert await bus.settling.nack(nacks) == [LeaseFailure("forged", LeaseFailureReason.MALFORMED)]
    states = {name: (await bus.local.get_event(TOPIC, name)).groups[0] for name in ("retry", "soon", "dead", "release")}
    assert {name: group.state for name, group in states.items()} == {
        "retry": EventState.SCHEDULED,
        "soon": EventState.READY,
        "dead": EventState.DEAD,
        "release": EventState.READY,
    }
    assert (states["retry"].last_error, states["release"].attempts) == ("boom", 0)


async def test_an_extension_lasts_the_topics_lease_unless_the_caller_sets_one(bus: Bus) -> None:
    await bus.dispatch("a", "b")
    a, b = [bus.token(bus.local, leased) for leased in await bus.lease(bus.local)]
    bus.clock.advance(1_000_000)
    await bus.settling.extend([a], None)
    await bus.settling.extend([b], 500_000)
    expiries = [(await bus.local.get_event(TOPIC, name)).groups[0].lease_expires_us for name in ("a", "b")]
    assert expiries == [bus.clock.now_us() + 30_000_000, bus.clock.now_us() + 500_000]


async def test_a_draining_engine_settles_and_a_stopped_one_reports_that(bus: Bus) -> None:
    await bus.dispatch("a", "b")
    a, b = [bus.token(bus.local, leased) for leased in await bus.lease(bus.local)]
    bus.running[0].status = EngineStatus.DRAINING
    assert await bus.settling.ack([a]) == []
    bus.running[0].status = EngineStatus.STOPPED
    assert await bus.settling.ack([b, "forged"]) == [
        LeaseFailure(b, LeaseFailureReason.ENGINE_STOPPED),
        LeaseFailure("forged", LeaseFailureReason.MALFORMED),
    ]


async def test_a_lease_of_an_engine_that_does_not_run_here_is_not_settled(bus: Bus) -> None:
    """The replica shares the key, so it can read the token."""
    await bus.dispatch("a", engines=[REDIS])
    (leased,) = await bus.lease(bus.other)
    token = bus.token(bus.other, leased)
    smaller = Settling(Engines(bus.running[:1]), bus.tokens)
    assert await smaller.ack([token]) == [LeaseFailure(token, LeaseFailureReason.ENGINE_STOPPED)]
