"""Hand-over: a dispatch leases its events to a session that waits, which need not ask for them."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest
from duebus_server.delivery import streams
from duebus_server.delivery.frames import DRAINING, Deliveries
from duebus_server.delivery.session import Stage
from duebus_server.domain.clock import SECOND
from duebus_server.domain.errors import DispatcherNotWorking
from duebus_server.domain.model import NackAction, NackRef
from duebus_server.domain.states import EventState
from support.builders import new_event
from support.workers import settle_down
from unit.delivery.conftest import GROUP, TOPIC, request_of

if TYPE_CHECKING:
    from unit.delivery.conftest import Bench, Subscriber

TURNS = 10


async def slow_subscriber(bench: Bench) -> Subscriber:
    """A session that waits. From then on, the engine's answers take several turns of the loop."""
    subscriber = await bench.subscribe()
    bench.engine.latency = TURNS
    return subscriber


async def settle_slowly() -> None:
    """Let the sessions lease again and send."""
    for _ in range(3):
        await settle_down()


async def dispatching(bench: Bench, *events: str) -> asyncio.Task[object]:
    """A dispatch that the engine has carried out but not answered."""
    task = asyncio.create_task(bench.streams.dispatch(TOPIC, [request_of(events)]))
    for _ in range(TURNS + 2):
        await asyncio.sleep(0)
    assert not task.done()
    return task


async def attempts(bench: Bench, event_id: str) -> int:
    """How many deliveries of an event count."""
    return (await bench.engine.get_event(TOPIC, event_id)).groups[0].attempts


# --- who gets what ----------------------------------------------------------------------------------------------------


async def test_a_session_that_waits_gets_a_dispatch_without_a_lease(bench: Bench) -> None:
    subscriber = await bench.subscribe()
    before = bench.lease_calls(subscriber)
    await bench.dispatch("a", "b")
    await bench.dispatch("c")
    assert subscriber.ids == ["a", "b", "c"]
    assert len(subscriber.frames) == 2
    assert bench.lease_calls(subscriber) == before
    await bench.ack(*subscriber.leases)


async def test_sessions_take_turns(bench: Bench) -> None:
    workers = [await bench.subscribe() for _ in range(3)]
    for event in "abcdef":
        await bench.dispatch(event)
    assert [worker.ids for worker in workers] == [["a", "d"], ["b", "e"], ["c", "f"]]


async def test_a_full_session_of_one_group_does_not_delay_the_hand_over_in_others(bench: Bench) -> None:
    one, other, full = (
        await bench.subscribe(group="one"),
        await bench.subscribe(group="other"),
        await bench.subscribe(max_events=1, group="full"),
    )
    await bench.dispatch("a")
    asked = bench.lease_calls(full)
    await bench.dispatch("b")
    assert (one.ids, other.ids, full.ids) == (["a", "b"], ["a", "b"], ["a"])
    assert bench.lease_calls(full) == asked
    await bench.engine.ack(TOPIC, "full", full.leases)
    await settle_down()
    assert full.ids == ["a", "b"]


async def test_events_beyond_the_window_wake_the_next_session(bench: Bench) -> None:
    first, second = await bench.subscribe(max_events=2), await bench.subscribe()
    await bench.dispatch("a", "b", "c", "d")
    assert (first.ids, second.ids) == (["a", "b"], ["c", "d"])


async def test_an_event_that_does_not_fit_holds_back_those_after_it(bench: Bench) -> None:
    first, second = await bench.subscribe(max_bytes=100), await bench.subscribe()
    sizes = {"a": 60, "b": 60, "c": 1}
    await bench.dispatch(*[new_event(event, body=b"x" * size) for event, size in sizes.items()])
    assert (first.ids, second.ids) == (["a"], ["b", "c"])


async def test_an_event_that_is_larger_than_the_window_is_handed_over_alone(bench: Bench) -> None:
    subscriber = await bench.subscribe(max_bytes=100)
    await bench.dispatch(new_event("large", body=b"x" * 200), new_event("small", body=b"x"))
    assert subscriber.ids == ["large"]
    await bench.ack(*subscriber.leases)
    assert subscriber.ids == ["large", "small"]


async def test_a_stalled_session_gets_one_event_at_a_time(bench: Bench) -> None:
    subscriber = await bench.subscribe(lease_us=SECOND)
    await bench.dispatch("a")
    await bench.advance(SECOND)
    assert subscriber.session.window.stalled
    await bench.ack(subscriber.leases[-1])
    await bench.advance(SECOND)
    subscriber.session.window.stalled = True
    await bench.dispatch("b", "c")
    assert subscriber.ids == ["a", "a", "b"]


async def test_of_a_batch_only_what_is_due_is_handed_over(bench: Bench) -> None:
    subscriber = await bench.subscribe()
    before = bench.lease_calls(subscriber)
    await bench.dispatch("now", new_event("later", delay_us=SECOND), "also now")
    assert subscriber.ids == ["now", "also now"]
    assert bench.lease_calls(subscriber) == before
    await bench.advance(SECOND)
    assert subscriber.ids == ["now", "also now", "later"]


async def test_a_dispatch_for_later_leaves_the_sessions_alone(bench: Bench) -> None:
    subscriber = await bench.subscribe()
    await bench.dispatch(new_event("later", delay_us=SECOND))
    assert subscriber.session._stage is Stage.WAITING
    await bench.advance(SECOND)
    assert subscriber.ids == ["later"]


async def test_an_older_event_goes_first(bench: Bench) -> None:
    """Another replica has stored an event, and its notification has not arrived yet."""
    subscriber = await slow_subscriber(bench)
    task = asyncio.create_task(bench.streams.dispatch(TOPIC, [request_of(["new"])]))
    await asyncio.sleep(0)
    assert subscriber.session._stage is Stage.RESERVED
    await bench.dispatch_elsewhere("old")
    await task
    await settle_slowly()
    assert subscriber.ids == ["old", "new"]


async def test_a_paused_group_hands_over_nothing(bench: Bench) -> None:
    subscriber = await bench.subscribe()
    await bench.engine.pause_group(TOPIC, GROUP)
    await settle_down()
    await bench.dispatch("a")
    assert subscriber.ids == []
    await bench.engine.resume_group(TOPIC, GROUP)
    await settle_down()
    assert subscriber.ids == ["a"]


# --- a session that is still sending ----------------------------------------------------------------------------------


async def stuck_with(bench: Bench, event: str, max_events: int = 64) -> Subscriber:
    """A session whose reader has stopped, so that it can't finish sending this event."""
    subscriber = await bench.subscribe(max_events)
    subscriber.stop_reading()
    await bench.dispatch(event)
    assert subscriber.frames == []
    return subscriber


async def test_events_that_arrive_while_a_frame_is_sent_are_the_next_frame(bench: Bench) -> None:
    subscriber = await stuck_with(bench, "a", max_events=4)
    for event in "bcde":
        await bench.dispatch(event)
    subscriber.resume_reading()
    await settle_down()
    assert [len(frame.events) for frame in subscriber.frames if isinstance(frame, Deliveries)] == [1, 3]
    assert subscriber.ids == ["a", "b", "c", "d"], "no more than its window"


async def test_a_session_that_waits_comes_before_one_that_sends(bench: Bench) -> None:
    stuck = await stuck_with(bench, "a")
    idle = await bench.subscribe()
    for event in "bc":
        await bench.dispatch(event)
    stuck.resume_reading()
    await settle_down()
    assert (stuck.ids, idle.ids) == (["a"], ["b", "c"])


async def test_a_lease_that_runs_out_before_its_event_is_sent_is_not_delivered(bench: Bench) -> None:
    stuck = await stuck_with(bench, "a")
    await bench.dispatch("b")
    await bench.advance(30 * SECOND)
    other = await bench.subscribe()
    stuck.resume_reading()
    await settle_down()
    assert sorted(stuck.ids + other.ids) == ["a", "a", "b"]


async def test_what_was_not_sent_when_a_stream_breaks_is_released(bench: Bench) -> None:
    stuck = await stuck_with(bench, "a")
    await bench.dispatch("b")
    await stuck.vanish()
    other = await bench.subscribe()
    assert other.ids == ["b"], "it does not wait for the grace of the broken stream"
    assert await attempts(bench, "b") == 1
    await bench.advance(SECOND)
    assert other.ids == ["b", "a"]


async def test_what_was_not_sent_when_a_drain_begins_is_sent_before_the_stream_closes(bench: Bench) -> None:
    stuck = await stuck_with(bench, "a")
    await bench.dispatch("b")
    drain = asyncio.create_task(bench.streams.drain(30 * SECOND))
    await settle_down()
    stuck.resume_reading()
    await settle_down()
    assert (stuck.ids, stuck.frames[-1]) == (["a", "b"], DRAINING)
    await bench.ack(*stuck.leases)
    assert await drain == 0


# --- while the dispatch is running ------------------------------------------------------------------------------------


async def test_after_a_dispatch_whose_answer_is_lost_the_session_leases(bench: Bench) -> None:
    """The engine then takes back the leases that were not reported to the session."""
    subscriber = await slow_subscriber(bench)
    asked = bench.lease_calls(subscriber)
    task = await dispatching(bench, "a")
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
    await settle_slowly()
    assert bench.lease_calls(subscriber) == asked + 1


async def test_a_session_keeps_working_after_a_dispatch_that_fails(bench: Bench) -> None:
    subscriber = await bench.subscribe()
    bench.engine.unreachable = True
    with pytest.raises(DispatcherNotWorking):
        await bench.dispatch("a")
    bench.engine.unreachable = False
    await bench.advance(SECOND)
    await bench.dispatch("b")
    assert subscriber.ids == ["b"]


async def test_a_stream_that_breaks_leaves_the_group_after_the_dispatch(bench: Bench) -> None:
    subscriber = await slow_subscriber(bench)
    task = await dispatching(bench, "a")
    vanishing = asyncio.create_task(subscriber.vanish())
    await asyncio.sleep(0)
    assert len((await bench.group()).subscribers) == 1
    await asyncio.gather(task, vanishing)
    group = await bench.group()
    assert (group.subscribers, group.counts[EventState.LEASED]) == ([], 0)
    assert group.counts[EventState.READY] == 1
    assert await attempts(bench, "a") == 0


async def test_a_drain_waits_for_the_dispatch(bench: Bench) -> None:
    subscriber = await slow_subscriber(bench)
    task = await dispatching(bench, "a")
    drain = asyncio.create_task(bench.streams.drain(30 * SECOND))
    await settle_slowly()
    assert task.done()
    assert (subscriber.ids, subscriber.frames[-1], drain.done()) == (["a"], DRAINING, False)
    await bench.ack(*subscriber.leases)
    assert await drain == 0


async def test_a_lease_that_ends_before_the_session_is_told_of_it_is_not_delivered(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    subscriber = await slow_subscriber(bench)
    leased = bench.streams.leased

    def late(topic: str, group: str, session_id: str, batch: object) -> None:
        bench.streams.leases_ended(session_id, [batch.events[0].fencing_token])  # type: ignore[attr-defined]
        leased(topic, group, session_id, batch)  # type: ignore[arg-type]

    monkeypatch.setattr(bench.streams, "leased", late)
    await bench.dispatch("a", "b")
    await settle_slowly()
    assert subscriber.ids == ["b"]


async def test_an_event_that_becomes_due_meanwhile_is_delivered(bench: Bench) -> None:
    subscriber = await slow_subscriber(bench)
    task = await dispatching(bench, "a")
    await bench.dispatch_elsewhere("b")
    await task
    await settle_slowly()
    assert subscriber.ids == ["a", "b"]


async def test_a_dispatch_waits_for_a_lease_that_is_under_way(bench: Bench) -> None:
    """Otherwise the lease that the dispatch then causes would meet the next dispatch, and so on."""
    subscriber = await slow_subscriber(bench)
    asked = bench.lease_calls(subscriber)
    await bench.engine.dispatch_elsewhere(request_of(["a"]))
    for _ in range(2):
        await asyncio.sleep(0)
    assert subscriber.session._stage is Stage.LEASING
    await bench.dispatch("b")
    assert subscriber.ids == ["a", "b"]
    assert bench.lease_calls(subscriber) == asked + 1


async def test_a_dispatch_does_not_wait_for_a_session_that_has_more_to_lease(bench: Bench) -> None:
    subscriber = await bench.subscribe(max_events=1)
    await bench.dispatch("a", "b", "c")
    bench.engine.latency = 10_000
    await bench.engine.ack(TOPIC, GROUP, subscriber.leases)
    await settle_down()
    assert subscriber.session._stage is Stage.LEASING
    assert await bench.streams._reserve(TOPIC, [request_of(["d"])]) == []
    bench.engine.latency = 0


async def test_a_dispatch_does_not_wait_forever_for_a_lease(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """The lease may wait for a node that does not answer, and the dispatch go to another."""
    monkeypatch.setattr(streams, "LEASE_ANSWER_TIMEOUT_S", 0.02)
    subscriber = await bench.subscribe()
    bench.engine.latency = 1_000_000
    await bench.dispatch_elsewhere("a")
    assert subscriber.session._stage is Stage.LEASING
    assert await bench.streams._reserve(TOPIC, [request_of(["b"])]) == []
    bench.engine.latency = 0
    await subscriber.vanish()


async def test_a_suspect_whose_lease_ends_meanwhile_makes_room_for_another(bench: Bench) -> None:
    """No report says that another suspect is due: on Redis an ack makes none."""
    worker = await slow_subscriber(bench)
    await bench.dispatch("a")
    await settle_slowly()
    worker.session.window._suspects.add(worker.leases[0].fencing_token)
    task = await dispatching(bench, "b")
    worker.session.leases_ended([worker.leases[0].fencing_token])
    asked = bench.lease_calls(worker)
    await task
    await settle_slowly()
    assert bench.lease_calls(worker) == asked + 1


async def test_an_event_that_was_handed_over_and_released_is_delivered_again(bench: Bench) -> None:
    subscriber = await bench.subscribe()
    await bench.dispatch("a")
    await bench.nack(NackRef(subscriber.leases[0], NackAction.RELEASE))
    assert subscriber.ids == ["a", "a"]
    assert await attempts(bench, "a") == 1
