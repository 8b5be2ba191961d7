"""A session leases what its window allows as soon as it is due, without needless calls."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from duebus_server.delivery.frames import DRAINING, Deliveries, Heartbeat
from duebus_server.domain.clock import SECOND
from duebus_server.domain.model import DispatchRequest, LeaseRef
from duebus_server.domain.states import EventState
from support.builders import new_event
from support.workers import settle_down
from unit.delivery.conftest import GROUP, TOPIC

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    import pytest
    from unit.delivery.conftest import Bench


async def until_turn(happened: Callable[[], bool], what: str) -> None:
    """Run the loop until a condition holds. The engine's answers take several turns."""
    for _ in range(1_000):
        if happened():
            return
        await asyncio.sleep(0)
    raise AssertionError(f"{what} did not come")


async def test_ready_events_are_sent_in_one_frame(bench: Bench) -> None:
    await bench.dispatch("a", "b", "c")
    subscriber = await bench.subscribe()
    assert subscriber.ids == ["a", "b", "c"]
    assert len(subscriber.frames) == 1


async def test_an_event_reaches_a_waiting_session_when_it_is_due_and_not_before(bench: Bench) -> None:
    subscriber = await bench.subscribe()
    await bench.dispatch(new_event("late", delay_us=5 * SECOND))
    await bench.advance(5 * SECOND - 1)
    assert subscriber.ids == []
    await bench.advance(1)
    assert subscriber.ids == ["late"]


async def test_an_earlier_event_does_not_hide_a_later_one(bench: Bench) -> None:
    subscriber = await bench.subscribe()
    await bench.dispatch(new_event("late", delay_us=5 * SECOND))
    await bench.dispatch(new_event("soon", delay_us=2 * SECOND))
    await bench.advance(2 * SECOND)
    assert subscriber.ids == ["soon"]
    await bench.advance(3 * SECOND)
    assert subscriber.ids == ["soon", "late"]


async def test_one_event_makes_one_session_lease(bench: Bench) -> None:
    waiting = [await bench.subscribe() for _ in range(5)]
    before = [bench.lease_calls(each) for each in waiting]
    await bench.dispatch_elsewhere("a")
    asked = [bench.lease_calls(each) - was for each, was in zip(waiting, before, strict=True)]
    assert waiting[0].ids == ["a"]
    assert asked == [1, 0, 0, 0, 0], "the answer said that there is no other"


async def test_a_settle_does_not_lease_if_there_was_room_for_all(bench: Bench) -> None:
    subscriber = await bench.subscribe()
    await bench.dispatch("a", "b")
    before = bench.lease_calls(subscriber)
    await bench.ack(*subscriber.leases)
    assert bench.lease_calls(subscriber) == before
    await bench.dispatch_elsewhere("c")
    assert subscriber.ids == ["a", "b", "c"]
    assert bench.lease_calls(subscriber) == before + 1


async def test_a_later_event_comes_after_those_that_were_leased(bench: Bench) -> None:
    subscriber = await bench.subscribe()
    await bench.dispatch("now", new_event("later", delay_us=SECOND))
    before = bench.lease_calls(subscriber)
    await bench.advance(SECOND)
    assert subscriber.ids == ["now", "later"]
    assert bench.lease_calls(subscriber) == before + 1


async def test_a_burst_wakes_as_many_sessions_as_it_needs(bench: Bench) -> None:
    waiting = [await bench.subscribe(max_events=2) for _ in range(5)]
    await bench.dispatch("a", "b", "c", "d", "e")
    assert [each.ids for each in waiting] == [["a", "b"], ["c", "d"], ["e"], [], []]


async def test_sessions_take_turns(bench: Bench) -> None:
    waiting = [await bench.subscribe() for _ in range(3)]
    for name in ("a", "b", "c", "d"):
        await bench.dispatch(name)
    assert [each.ids for each in waiting] == [["a", "d"], ["b"], ["c"]]


async def test_a_settle_makes_room_immediately(bench: Bench) -> None:
    subscriber = await bench.subscribe(max_events=1)
    await bench.dispatch("a", "b")
    assert subscriber.ids == ["a"]
    await bench.ack(subscriber.leases[0])
    assert subscriber.ids == ["a", "b"]


async def test_a_full_session_does_not_lease(bench: Bench) -> None:
    subscriber = await bench.subscribe(max_events=1)
    await bench.dispatch("a")
    before = bench.lease_calls(subscriber)
    for number in range(20):
        await bench.dispatch(f"more-{number}")
    await bench.advance(SECOND)
    assert bench.lease_calls(subscriber) == before


async def test_a_session_without_room_for_the_next_event_does_not_lease_repeatedly(bench: Bench) -> None:
    subscriber = await bench.subscribe(max_bytes=100)
    await bench.dispatch(new_event("small", body=b"x" * 60))
    await bench.dispatch(new_event("large", body=b"x" * 80))
    before = bench.lease_calls(subscriber)
    for _ in range(20):
        await bench.dispatch(new_event(body=b"x" * 80))
        await bench.advance(SECOND // 20)
    assert bench.lease_calls(subscriber) - before <= 1, "it checks once a second"
    assert subscriber.ids == ["small"]

    await bench.ack(subscriber.leases[0])
    assert subscriber.ids == ["small", "large"]


async def test_a_session_without_room_for_the_next_event_leaves_it_to_another(bench: Bench) -> None:
    tight = await bench.subscribe(max_bytes=100)
    await bench.dispatch(new_event("small", body=b"x" * 60))
    roomy = await bench.subscribe()
    await bench.dispatch(new_event("large", body=b"x" * 80))
    assert (tight.ids, roomy.ids) == (["small"], ["large"])


async def test_a_session_with_room_for_a_small_event_gets_it_after_another_took_the_large_one(bench: Bench) -> None:
    """It must not wait until its own leases are settled, which may take hours."""
    tight = await bench.subscribe(max_bytes=100)
    await bench.dispatch(new_event("held", body=b"x" * 60))
    await bench.dispatch(new_event("large", body=b"x" * 80))  # tight has no room for it...
    other = await bench.subscribe(max_events=1)
    assert other.ids == ["large"]  # ...and now it is gone

    await bench.dispatch(new_event("small", body=b"x" * 30))
    assert tight.ids == ["held", "small"]


async def test_a_session_with_room_for_a_small_event_gets_it_when_it_returns_before_the_large_one(
    bench: Bench,
) -> None:
    """The session that held the small event vanishes. The event keeps its place before the large one."""
    other = await bench.subscribe(max_events=1, grace_us=0)
    await bench.dispatch(new_event("small", body=b"x" * 30))
    tight = await bench.subscribe(max_bytes=100)
    await bench.dispatch(new_event("held", body=b"x" * 60))
    await bench.advance(SECOND)
    await bench.dispatch(new_event("large", body=b"x" * 80))
    assert (tight.ids, other.ids) == (["held"], ["small"])

    await other.vanish()
    await bench.engine.expire_leases()
    await settle_down()
    assert tight.ids == ["held", "small"]


async def test_a_small_event_that_returns_before_a_large_one_waits_at_most_a_second(
    bench: Bench,
) -> None:
    """Both are due at the same time, so the engine does not report that the small one is first again."""
    sizes = {"small": 30, "held": 60, "large": 80}
    await bench.dispatch(*[new_event(name, body=b"x" * size) for name, size in sizes.items()])
    other = await bench.subscribe(max_events=1, grace_us=0)
    tight = await bench.subscribe(max_bytes=100)
    assert (other.ids, tight.ids) == (["small"], ["held"])

    await other.vanish()
    await bench.engine.expire_leases()
    await bench.advance(SECOND)
    assert tight.ids == ["held", "small"]


async def test_many_sessions_without_room_lease_once_when_the_first_event_changes(bench: Bench) -> None:
    tight = [await bench.subscribe(max_bytes=100) for _ in range(5)]
    for number in range(5):
        await bench.dispatch(new_event(f"held-{number}", body=b"x" * 60))
    assert [each.ids for each in tight] == [[f"held-{number}"] for number in range(5)]
    await bench.dispatch(*[new_event(f"large-{number}", body=b"x" * 80) for number in range(3)])
    before = [bench.lease_calls(each) for each in tight]
    await bench.subscribe(max_events=1)
    asked = [bench.lease_calls(each) - was for each, was in zip(tight, before, strict=True)]
    assert max(asked) <= 1, asked


async def test_more_events_than_fit_one_frame_are_sent_in_several(bench: Bench) -> None:
    mebibyte = b"x" * (1 << 20)
    await bench.dispatch(*[new_event(f"e{number}", body=mebibyte) for number in range(4)])
    subscriber = await bench.subscribe()
    assert [len(frame.events) for frame in subscriber.frames if isinstance(frame, Deliveries)] == [3, 1]


async def test_an_expired_lease_goes_to_a_waiting_session(bench: Bench) -> None:
    subscriber = await bench.subscribe(lease_us=3 * SECOND)
    await bench.dispatch("a")
    await bench.advance(3 * SECOND - 1)
    assert subscriber.ids == ["a"]
    await bench.advance(1)
    assert subscriber.ids == ["a", "a"]
    assert subscriber.leases[1].fencing_token > subscriber.leases[0].fencing_token


async def test_an_event_that_became_due_during_suspend_is_sent_by_the_next_sweep(bench: Bench) -> None:
    """The loop's timers stop while the host is suspended, and would fire late by that time."""
    subscriber = await bench.subscribe()
    await bench.dispatch(new_event("late", delay_us=3600 * SECOND))
    bench.clock.sleep(3600 * SECOND)
    await settle_down()
    assert subscriber.ids == []
    await bench.engine.expire_leases()
    await settle_down()
    assert subscriber.ids == ["late"]


# --- the end ----------------------------------------------------------------------------------------------------------


async def test_after_a_broken_stream_leases_run_out_after_the_grace(bench: Bench) -> None:
    lost = await bench.subscribe(grace_us=SECOND)
    other = await bench.subscribe()
    await bench.dispatch("a")
    await lost.vanish()
    await bench.advance(SECOND - 1)
    assert other.ids == []
    await bench.advance(1)
    assert other.ids == ["a"]


async def test_a_session_that_ends_after_being_woken_wakes_the_next_one(bench: Bench) -> None:
    """The first session's stream breaks before it leases the event that it was woken for."""
    first, second = await bench.subscribe(), await bench.subscribe()
    await bench.engine.dispatch("orders", [DispatchRequest([new_event("a")])])
    assert first.session._woken.is_set(), "it is woken, but has not run yet"
    bench.engine._topics.watcher = None  # an engine need not report twice
    await first.vanish()
    await settle_down()
    assert (first.ids, second.ids) == ([], ["a"])


async def test_a_session_that_ends_is_gone_from_the_group(bench: Bench) -> None:
    subscriber = await bench.subscribe()
    assert len((await bench.group()).subscribers) == 1
    await subscriber.vanish()
    assert (await bench.group()).subscribers == []


async def test_leases_that_a_new_session_names_move_to_it(bench: Bench) -> None:
    old = await bench.subscribe(max_events=1)
    await bench.dispatch("a", "b")
    new = await bench.subscribe(max_events=1, held=[old.leases[0], LeaseRef("gone", 99)])
    assert new.lost == [LeaseRef("gone", 99)]
    assert new.ids == [], "the leases it named fill its window"
    assert old.ids == ["a", "b"], "and the old one has room again"

    await old.vanish()
    await bench.advance(2 * SECOND)
    assert (await bench.group()).counts[EventState.LEASED] == 1, "the old session had only b left"
    await bench.ack(old.leases[0])
    assert new.ids == ["b"]


async def test_a_lease_settled_during_its_adoption_leaves_room(bench: Bench) -> None:
    """The answer to the ack may overtake the answer to the adopt. The session must not count the lease as held then."""
    old = await bench.subscribe(max_events=1)
    await bench.dispatch("a")
    bench.engine.latency = 30
    taking_over = asyncio.create_task(bench.subscribe(max_events=1, held=old.leases))
    await until_turn(lambda: len(old.session.window) == 0, "the adoption")
    await bench.ack(*old.leases)
    new = await taking_over
    assert new.lost == old.leases
    await old.vanish()
    bench.engine.latency = 0
    await bench.dispatch("b")
    await settle_down()
    assert new.ids == ["b"]


async def test_a_lease_that_ends_during_a_lease_call_makes_room_for_a_large_event(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    subscriber = await bench.subscribe(max_bytes=100)
    await bench.dispatch(new_event("small", body=b"x" * 60))
    bench.engine.latency = 30
    await bench.engine.dispatch_elsewhere(DispatchRequest([new_event("large", body=b"x" * 80)]))
    calls = bench.lease_calls(subscriber)
    await until_turn(lambda: bench.lease_calls(subscriber) > calls, "the lease")
    for _ in range(40):  # the engine has answered that the event is too large, but the answer has not arrived
        await asyncio.sleep(0)
    monkeypatch.setattr(bench.streams, "due", lambda *_: None)  # an engine need not report twice
    await bench.engine.ack("orders", "billing", subscriber.leases)
    await until_turn(lambda: subscriber.ids == ["small", "large"], "the large event")


async def test_a_session_leaves_before_its_leases_are_shortened(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise a late adopt command would renew the shortened lease."""
    done: list[str] = []
    for verb in ("leave", "shorten"):
        real = getattr(bench.engine, verb)

        async def noted(*arguments: object, verb: str = verb, real: Callable[..., Awaitable[None]] = real) -> None:
            done.append(verb)
            await real(*arguments)

        monkeypatch.setattr(bench.engine, verb, noted)
    await (await bench.subscribe()).vanish()
    assert done == ["leave", "shorten"]


async def test_a_closed_session_wakes_the_next_one_at_once(bench: Bench) -> None:
    """Its client may read the last frame late, or never."""
    first, second = await bench.subscribe(), await bench.subscribe()
    first.stop_reading()
    await bench.engine.dispatch("orders", [DispatchRequest([new_event("a")])])
    bench.engine._topics.watcher = None  # an engine need not report twice
    first.session.close_soon(DRAINING)
    await settle_down()
    assert (first.ended, second.ids) == (False, ["a"])


# --- heartbeats -------------------------------------------------------------------------------------------------------


def heartbeats(frames: list[object]) -> list[Heartbeat]:
    return [frame for frame in frames if isinstance(frame, Heartbeat)]


async def test_heartbeats_are_sent_every_ten_seconds_of_silence(bench: Bench) -> None:
    subscriber = await bench.subscribe()
    began_us = bench.clock.now_us()
    for _ in range(35):
        await bench.advance(SECOND)
    sent = heartbeats(list(subscriber.frames))
    assert [(each.server_time_us - began_us) // SECOND for each in sent] == [10, 20, 30]
    assert len(subscriber.frames) == 3


async def test_heartbeats_of_streams_opened_within_half_a_second_are_sent_together(bench: Bench) -> None:
    await bench.advance(SECOND // 10)
    first = await bench.subscribe()
    await bench.advance(SECOND // 10)
    second = await bench.subscribe()

    await bench.advance(10 * SECOND)
    assert heartbeats([*first.frames, *second.frames]) == [], "neither is early"
    await bench.advance(SECOND * 3 // 10)
    (beat,), (other,) = heartbeats(list(first.frames)), heartbeats(list(second.frames))
    assert beat.server_time_us == other.server_time_us == bench.clock.now_us()


async def test_deliveries_postpone_the_heartbeat(bench: Bench) -> None:
    subscriber = await bench.subscribe()
    await bench.advance(9 * SECOND)
    await bench.dispatch("a")
    await bench.advance(9 * SECOND)
    assert heartbeats(list(subscriber.frames)) == []
    await bench.advance(SECOND)
    assert len(heartbeats(list(subscriber.frames))) == 1


async def test_a_heartbeat_has_the_number_of_ready_events(bench: Bench) -> None:
    subscriber = await bench.subscribe(max_events=1)
    await bench.dispatch("a", "b", "c", new_event("later", delay_us=60 * SECOND))
    await bench.advance(10 * SECOND)
    (heartbeat,) = heartbeats(list(subscriber.frames))
    assert heartbeat.backlog == 2


async def test_heartbeats_of_an_idle_stream_do_not_call_the_engine(bench: Bench) -> None:
    subscriber = await bench.subscribe()
    await bench.dispatch(new_event("later", delay_us=3600 * SECOND))
    for _ in range(3):
        await bench.advance(11 * SECOND)
    assert [beat.backlog for beat in heartbeats(list(subscriber.frames))] == [0] * 3
    assert bench.engine.backlogs_counted == 0


async def test_heartbeats_of_a_paused_group_have_the_number_of_ready_events(bench: Bench) -> None:
    first, second = await bench.subscribe(), await bench.subscribe()
    await bench.engine.pause_group(TOPIC, GROUP)
    await bench.dispatch("a", "b")
    await bench.advance(10 * SECOND + SECOND // 2)
    assert [beat.backlog for beat in heartbeats([*first.frames, *second.frames])] == [2, 2]


async def test_a_session_that_is_sending_a_heartbeat_leaves_events_to_others(bench: Bench) -> None:
    """Its client has stopped reading, so it could not deliver an event."""
    stuck = await bench.subscribe()
    stuck.stop_reading()
    await bench.advance(5 * SECOND)
    other = await bench.subscribe()
    await bench.advance(5 * SECOND)
    await bench.dispatch("a")
    assert other.ids == ["a"]

    stuck.resume_reading()
    await bench.dispatch("b", "c")
    assert sorted(stuck.ids + other.ids) == ["a", "b", "c"]


async def test_an_ended_session_has_no_timer(bench: Bench) -> None:
    subscriber = await bench.subscribe()
    await subscriber.vanish()
    await bench.advance(100 * SECOND)
    assert not [timer for _, _, timer in bench.clock._timers if timer._callback is not None]


# --- an engine that is unreachable for a while ------------------------------------------------------------------------


async def test_a_stream_survives_an_unreachable_engine(bench: Bench) -> None:
    subscriber = await bench.subscribe()
    bench.engine.unreachable = True
    await bench.dispatch_elsewhere("a")
    await bench.advance(5 * SECOND)
    assert (subscriber.ids, subscriber.ended) == ([], False)
    bench.engine.unreachable = False
    await bench.advance(SECOND // 2)
    assert subscriber.ids == ["a"]


async def test_an_unreachable_engine_is_asked_twice_a_second_at_most(
    bench: Bench,
) -> None:
    subscriber = await bench.subscribe()
    bench.engine.unreachable = True
    for _ in range(20):
        await bench.dispatch_elsewhere("a")
        subscriber.session.wake()
        await bench.advance(SECOND // 100)
    before = bench.lease_calls(subscriber)
    for _ in range(200):
        await bench.advance(SECOND // 100)
    assert bench.lease_calls(subscriber) - before <= 4


async def test_heartbeats_continue_while_the_engine_is_unreachable(bench: Bench) -> None:
    subscriber = await bench.subscribe(max_events=1)
    await bench.dispatch("a", "b", "c")
    await bench.advance(10 * SECOND)
    bench.engine.unreachable = True
    await bench.advance(10 * SECOND)
    assert [beat.backlog for beat in heartbeats(list(subscriber.frames))] == [2, 2], "the last known number"


async def test_a_stream_that_ends_while_the_engine_is_unreachable_leaves_nothing_behind(bench: Bench) -> None:
    subscriber = await bench.subscribe()
    bench.engine.unreachable = True
    await bench.dispatch_elsewhere("a")
    await subscriber.vanish()
    assert (bench.streams._sessions, bench.streams._wakers) == ({}, {})
    await bench.advance(10 * SECOND)
    assert not [timer for _, _, timer in bench.clock._timers if timer._callback is not None]


async def test_a_stream_that_ends_while_the_engine_is_unreachable_leaves_its_group(bench: Bench) -> None:
    """Otherwise the group would count a subscriber that is gone."""
    subscriber = await bench.subscribe()
    await bench.dispatch("a")
    bench.engine.unreachable = True
    await subscriber.vanish()
    bench.engine.unreachable = False
    assert (await bench.group()).subscribers == []
