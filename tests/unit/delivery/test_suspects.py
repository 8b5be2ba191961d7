"""A stream whose leases run out gets one event at a time; one that holds a suspect gets no other suspect."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from duebus_server.domain.clock import HOUR, MINUTE, SECOND
from duebus_server.domain.model import NackAction, NackRef
from duebus_server.domain.states import EventState
from support.builders import new_event
from unit.delivery.conftest import GROUP, TOPIC

if TYPE_CHECKING:
    from duebus_server.domain.model import LeaseBatch, LeaseRequest
    from unit.delivery.conftest import Bench, Subscriber

INNOCENTS = [f"innocent {number:02}" for number in range(20)]


async def kill_two_workers(bench: Bench, *event_ids: str) -> None:
    """Make suspects of events: two workers hold them, and vanish."""
    await bench.dispatch(*event_ids)
    for _ in range(2):
        worker = await bench.subscribe()
        assert len(worker.ids) == len(event_ids)
        await worker.vanish()
        await bench.advance(SECOND)
        await bench.engine.expire_leases()


async def ack(bench: Bench, subscriber: Subscriber, event_id: str) -> None:
    """Ack the last delivery of an event."""
    await bench.ack(next(lease for lease in reversed(subscriber.leases) if lease.event_id == event_id))


async def time_passes(bench: Bench, by_us: int) -> None:
    """Move the clock, and sweep."""
    await bench.advance(by_us)
    await bench.engine.expire_leases()
    await bench.advance(0)


# --- stalled streams --------------------------------------------------------------------------------------------------


async def test_a_stalled_stream_gets_one_event_at_a_time(bench: Bench) -> None:
    frozen = await bench.subscribe(max_events=8, lease_us=SECOND)
    await bench.dispatch(*INNOCENTS)
    assert len(frozen.ids) == 8

    for nth in range(1, 11):
        await time_passes(bench, SECOND)
        assert len(frozen.ids) == 8 + nth, "one more each second, never eight at once"

    group = await bench.group()
    assert group.counts[EventState.DEAD] == 0
    assert (await bench.engine.get_event(TOPIC, INNOCENTS[0])).groups[0].attempts == 11


@pytest.mark.parametrize("sign", ["ack", "nack", "release", "extend"])
async def test_a_stream_that_settles_or_extends_gets_all_it_has_room_for(bench: Bench, sign: str) -> None:
    worker = await bench.subscribe(max_events=8, lease_us=SECOND)
    await bench.dispatch(*INNOCENTS)
    await time_passes(bench, SECOND)
    assert len(worker.ids) == 8 + 1

    lease = worker.leases[-1]
    if sign == "ack":
        await bench.ack(lease)
    elif sign == "extend":
        await bench.engine.extend(TOPIC, GROUP, [lease], HOUR)
    else:
        action = NackAction.RETRY if sign == "nack" else NackAction.RELEASE
        await bench.nack(NackRef(lease, action, delay_us=HOUR))
    await bench.advance(0)

    assert len(worker.session.window) == 8


async def test_a_stalled_stream_with_leases_gets_nothing_until_it_settles_one(bench: Bench) -> None:
    worker = await bench.subscribe(max_events=2, lease_us=SECOND)
    await bench.dispatch("kept", "lost", "next")
    kept = worker.leases[0]
    await bench.engine.extend(TOPIC, GROUP, [kept], HOUR)

    await time_passes(bench, SECOND)
    assert worker.ids == ["kept", "lost"]

    await bench.ack(kept)
    assert worker.ids == ["kept", "lost", "lost", "next"]


async def test_a_stalled_stream_does_not_delay_others(bench: Bench) -> None:
    frozen = await bench.subscribe(max_events=8, lease_us=30 * SECOND)
    await bench.dispatch(*INNOCENTS[:8])
    healthy = await bench.subscribe(max_events=64)
    await time_passes(bench, 30 * SECOND)

    await bench.dispatch(*INNOCENTS[8:])

    assert len(frozen.session.window) == 1
    assert len(healthy.session.window) == 19


# --- suspects ---------------------------------------------------------------------------------------------------------


async def test_a_stream_holds_one_of_two_suspects_and_gets_all_other_events(bench: Bench) -> None:
    await kill_two_workers(bench, "suspect 1", "suspect 2")
    await bench.dispatch(*INNOCENTS[:10])

    worker = await bench.subscribe(max_events=64)
    await bench.dispatch(*INNOCENTS[10:])

    assert worker.ids == ["suspect 1", *INNOCENTS]
    asked = bench.lease_calls(worker)
    for _ in range(10):
        await bench.advance(SECOND)
    assert bench.lease_calls(worker) <= asked + 1, "it checks only with its heartbeat"

    await ack(bench, worker, "suspect 1")
    assert worker.ids[-1] == "suspect 2"


async def test_a_suspect_goes_to_a_stream_that_has_none(bench: Bench) -> None:
    """A session that has a suspect and is woken wakes the next one."""
    await kill_two_workers(bench, "suspect 1", "suspect 2", "suspect 3")
    workers = [await bench.subscribe() for _ in range(2)]
    held = sorted(event_id for worker in workers for event_id in worker.ids)
    assert held == ["suspect 1", "suspect 2"]

    late = await bench.subscribe()

    assert late.ids == ["suspect 3"]


async def test_a_returning_suspect_goes_to_a_stream_that_has_none(bench: Bench) -> None:
    await kill_two_workers(bench, "suspect 1", "suspect 2")
    workers = [await bench.subscribe() for _ in range(2)]
    assert [worker.ids for worker in workers] == [["suspect 1"], ["suspect 2"]]
    await bench.nack(NackRef(workers[1].leases[0], delay_us=MINUTE))
    busy, idle = workers

    await bench.dispatch("innocent")  # the first in line takes it, and goes to the end
    await bench.advance(MINUTE)

    assert idle.ids.count("suspect 2") == 2
    assert "suspect 2" not in busy.ids
    for worker in workers:
        asked = bench.lease_calls(worker)
        await bench.advance(5 * SECOND)
        assert bench.lease_calls(worker) <= asked + 1


async def test_a_stream_whose_suspect_ends_gets_the_next_one(bench: Bench) -> None:
    """No report says that another suspect is due: on Redis an ack makes none."""
    await kill_two_workers(bench, "suspect 1", "suspect 2")
    worker = await bench.subscribe()
    lease = bench.engine.lease

    async def ends_meanwhile(topic: str, group: str, session_id: str, request: LeaseRequest) -> LeaseBatch:
        batch = await lease(topic, group, session_id, request)
        if not request.with_suspect:
            worker.session.leases_ended([worker.leases[0].fencing_token])
        return batch

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bench.engine, "lease", ends_meanwhile)
        await bench.dispatch_elsewhere("innocent")

    assert sorted(worker.ids) == ["innocent", "suspect 1", "suspect 2"]


async def test_a_worker_that_reconnects_keeps_its_suspect_and_gets_no_other(bench: Bench) -> None:
    await kill_two_workers(bench, "suspect 1", "suspect 2")
    worker = await bench.subscribe()
    (lease,) = worker.leases
    await worker.vanish()

    again = await bench.subscribe(held=[lease])

    assert (again.lost, again.ids) == ([], [])
    await bench.ack(lease)
    assert again.ids == ["suspect 2"]


async def test_a_stream_with_a_suspect_wakes_others_for_waiting_suspects(bench: Bench) -> None:
    await kill_two_workers(bench, "suspect 1", "suspect 2")
    worker = await bench.subscribe()

    await bench.advance(11 * SECOND)

    assert [frame.backlog for frame in worker.frames if hasattr(frame, "backlog")] == [1]


async def test_a_poison_event_dies_alone(bench: Bench) -> None:
    """Each worker that gets it is killed and replaced, until the event is dead."""
    await bench.dispatch(new_event("poison", max_retries=3), *INNOCENTS)
    killed = 0
    while "poison" in (worker := await bench.subscribe(max_events=16)).ids:
        killed += 1
        await worker.vanish()
        await time_passes(bench, SECOND)

    assert killed == 6, "two that don't count, the first attempt that does, and three retries"
    while worker.session.window.held():
        await bench.ack(*worker.session.window.held())
    assert sorted(worker.ids) == INNOCENTS
    assert {state: count for state, count in (await bench.group()).counts.items() if count} == {EventState.DEAD: 1}
