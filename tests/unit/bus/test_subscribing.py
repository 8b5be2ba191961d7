"""Subscribe: a session for as long as the stream lasts, on the requested engine."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from duebus_server.bus.engines import EngineStatus
from duebus_server.domain.clock import SECOND
from duebus_server.domain.errors import DispatcherNotWorking, NoDispatcherSpecified
from duebus_server.domain.model import LeaseRequest
from unit.bus.conftest import GROUP, REDIS, TOPIC, command

if TYPE_CHECKING:
    from unit.bus.conftest import Bus


async def test_the_group_exists_when_the_context_is_entered_and_the_session_is_gone_after_it(bus: Bus) -> None:
    async with bus.subscribing.subscribe(command()) as subscription:
        (group,) = (await bus.local.get_topic(TOPIC)).groups
        assert [each.session_id for each in group.subscribers] == [subscription.session.options.session_id]
    (group,) = (await bus.local.get_topic(TOPIC)).groups
    assert (group.group, group.subscribers) == (GROUP, [])


async def test_options_that_are_not_given_follow_the_topic_and_the_server(bus: Bus) -> None:
    async with bus.subscribing.subscribe(command(group="")) as subscription:
        options = subscription.session.options
        assert (options.group, options.lease_us, options.grace_us) == ("default", 30 * SECOND, SECOND)


async def test_a_stream_may_name_another_engine(bus: Bus) -> None:
    async with bus.subscribing.subscribe(command(engine=REDIS)):
        assert (await bus.other.get_topic(TOPIC)).groups[0].subscribers
        assert await bus.local.list_topics("", 10) == []


async def test_a_stream_that_fails_or_is_cancelled_leaves_no_session(bus: Bus) -> None:
    with pytest.raises(asyncio.CancelledError):
        async with bus.subscribing.subscribe(command()):
            raise asyncio.CancelledError
    assert bus.running[0].streams._sessions == {}
    assert (await bus.local.get_topic(TOPIC)).groups[0].subscribers == []


async def test_a_stream_that_can_not_join_leaves_no_session(bus: Bus, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(*_: object) -> None:
        raise DispatcherNotWorking("out of reach")

    monkeypatch.setattr(bus.local, "join", fail)
    with pytest.raises(DispatcherNotWorking):
        async with bus.subscribing.subscribe(command()):
            pytest.fail("it was not joined")
    sessions = bus.running[0].streams
    assert (sessions._sessions, sessions._wakers) == ({}, {})


async def test_an_unreachable_engine_at_the_end_of_a_stream_leaves_no_session(
    bus: Bus, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*_: object) -> None:
        raise DispatcherNotWorking("out of reach")

    async with bus.subscribing.subscribe(command()):
        monkeypatch.setattr(bus.local, "shorten", fail)
    sessions = bus.running[0].streams
    assert (sessions._sessions, sessions._wakers) == ({}, {})


async def test_leases_of_this_group_are_adopted_and_the_others_are_reported_as_lost(bus: Bus) -> None:
    await bus.dispatch("a", "b")
    a, b = await bus.lease(bus.local)
    await bus.local.ack(TOPIC, GROUP, [])
    elsewhere = bus.token(bus.local, a, group="audit")
    foreign = bus.token(bus.other, b)
    held = [bus.token(bus.local, a), "forged", elsewhere, foreign, bus.token(bus.local, b)]
    async with bus.subscribing.subscribe(command(held=held)) as subscription:
        assert list(subscription.lost_lease_tokens) == ["forged", elsewhere, foreign]
        assert [lease.event_id for lease in subscription.session.window.held()] == ["a", "b"]


async def test_a_token_that_is_named_twice_is_adopted_once(bus: Bus) -> None:
    await bus.dispatch("a")
    (leased,) = await bus.lease(bus.local)
    token = bus.token(bus.local, leased)
    async with bus.subscribing.subscribe(command(held=[token, token])) as subscription:
        assert list(subscription.lost_lease_tokens) == []
        assert len(subscription.session.window) == 1


async def test_its_lease_tokens_can_be_read_by_the_bus(bus: Bus) -> None:
    await bus.dispatch("a")
    async with bus.subscribing.subscribe(command()) as subscription:
        session_id = subscription.session.options.session_id
        (leased,) = (await bus.local.lease(TOPIC, GROUP, session_id, LeaseRequest(1, 1 << 20))).events
        target = bus.tokens.read(*subscription.tokens.mint([leased.event_id], [leased.fencing_token]))
        assert target is not None
        assert (target.engine, target.topic, target.group) == ("local", TOPIC, GROUP)
        assert (target.lease.event_id, target.lease.fencing_token) == ("a", leased.fencing_token)


@pytest.mark.parametrize("status", [EngineStatus.DRAINING, EngineStatus.STOPPED])
async def test_a_draining_engine_opens_no_stream(bus: Bus, status: EngineStatus) -> None:
    bus.running[0].status = status
    with pytest.raises(DispatcherNotWorking):
        async with bus.subscribing.subscribe(command()):
            pytest.fail("it was opened")


async def test_an_engine_that_does_not_run_here_opens_no_stream(bus: Bus) -> None:
    del bus.engines._running[REDIS]
    with pytest.raises(NoDispatcherSpecified, match="this server does not run the redis engine; it runs: local"):
        async with bus.subscribing.subscribe(command(engine=REDIS)):
            pytest.fail("it was opened")
