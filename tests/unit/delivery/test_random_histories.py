"""Random steps on several sessions. Whenever nothing is running, no event waits that a session has room for."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING

import pytest
from duebus_server.domain.clock import SECOND
from duebus_server.domain.model import NackAction, NackRef
from duebus_server.domain.states import EventState
from support.builders import new_event
from support.workers import settle_down
from unit.delivery.conftest import GROUP, TOPIC, request_of

if TYPE_CHECKING:
    from collections.abc import Collection

    from duebus_server.domain.model import LeaseRef, NewEvent
    from duebus_server.engine.local.records import Entry
    from unit.delivery.conftest import Bench, Subscriber

STEPS = 120

TURNS = 20
"""Of the loop, in one ``settle_down``."""


class RandomHistory:
    """Random steps on the sessions of one engine.

    Attributes:
        steps: the steps so far, in words.
    """

    def __init__(self, bench: Bench, seed: int) -> None:
        self.bench = bench
        self.steps: list[str] = []
        self._random = random.Random(seed)
        self._open: list[Subscriber] = []
        self._stuck: list[Subscriber] = []
        self._dispatches: set[asyncio.Task[object]] = set()

    async def step(self) -> None:
        weights = {
            self._dispatch: 6,
            self._dispatch_elsewhere: 3,
            self._settle: 6,
            self._extend: 2,
            self._advance: 4,
            self._subscribe: 2,
            self._vanish: 1,
            self._stall: 1,
            self._unstall: 1,
        }
        (step,) = self._random.choices(list(weights), list(weights.values()))
        await step()

    async def is_quiet(self) -> bool:
        """Let all tasks finish; with a slow engine, sometimes continue before they have."""
        if self.bench.engine.latency and self._random.random() < 0.6:
            return False
        asked, quiet_for = -1, 0
        while quiet_for < 2 * self.bench.engine.latency + 1:
            await settle_down()
            now_asked = self.bench.engine.leases.total()
            quiet_for = quiet_for + TURNS if now_asked == asked and not self._dispatches else 0
            asked = now_asked
        return True

    def left_waiting(self, *, thorough: bool = False) -> str | None:
        """The id of an event that waits although a session that is reading has room for it."""
        for subscriber in self._open:
            entry = None if subscriber in self._stuck else self._first_for(subscriber)
            if entry is None or (not thorough and self._may_take_a_second(subscriber, entry.at_us)):
                continue
            if self._has_room(subscriber, len(entry.event.body)):
                return entry.event.id
        return None

    def with_wrong_window(self) -> str | None:
        """The first session whose window differs from its leases in the engine."""
        for subscriber in self._open:
            held = {entry.lease.fencing_token for entry in self._entries_of(subscriber) if entry.lease}
            if held != {lease.fencing_token for lease in subscriber.session.window.held()}:
                return subscriber.session.options.session_id
        return None

    def _first_for(self, subscriber: Subscriber) -> Entry | None:
        """The first event that waits; suspects are left out if the session has one."""
        group = self.bench.engine._topics.find_group(TOPIC, GROUP)
        if group is None:
            return None
        indexes = [group.indexes.by_state[EventState.READY]]
        if not any(entry.is_suspect for entry in self._entries_of(subscriber)):
            indexes.append(group.indexes.suspects)
        firsts = [first[1] for index in indexes if (first := index.first()) is not None]
        return min(firsts, key=lambda entry: (entry.at_us, entry.event.seq), default=None)

    def _entries_of(self, subscriber: Subscriber) -> Collection[Entry]:
        """The session's leases in the engine, which may differ from what the session believes."""
        by_session = self.bench.engine._topics.known_group(TOPIC, GROUP).leases.held
        return by_session.get(subscriber.session.options.session_id, {}).values()

    def _may_take_a_second(self, subscriber: Subscriber, due_us: int) -> bool:
        """Whether the session waits for a larger event with the same due time."""
        session = subscriber.session
        return session._waker._waiting_for_another.get(session) == due_us

    def _has_room(self, subscriber: Subscriber, size: int) -> bool:
        window = subscriber.session.window
        held = [len(entry.event.body) for entry in self._entries_of(subscriber)]
        if window.stalled or not held:
            return not held
        return len(held) < window.max_events and sum(held) + size <= window.max_bytes

    async def _dispatch(self) -> None:
        """With a slow engine, other steps are taken before the answer arrives."""
        task = asyncio.create_task(self.bench.streams.dispatch(TOPIC, [request_of(self._events("dispatch"))]))
        self._dispatches.add(task)
        task.add_done_callback(self._dispatches.discard)
        await settle_down()

    async def _dispatch_elsewhere(self) -> None:
        await self.bench.dispatch_elsewhere(*self._events("dispatch elsewhere"))

    def _events(self, what: str) -> list[NewEvent]:
        number = self._random.choice((1, 1, 1, 2, 5, 20))
        delay_us = self._random.choice((None, None, None, 1, SECOND // 3, 2 * SECOND))
        sizes = [self._random.choice((1, 10, 30, 60, 90, 150)) for _ in range(number)]
        self.steps.append(f"{what} {sizes} in {delay_us}")
        return [new_event(body=b"x" * size, delay_us=delay_us, max_retries=1_000) for size in sizes]

    async def _subscribe(self) -> None:
        if len(self._open) > 6:
            return
        events, size = self._random.choice((1, 2, 5, 64)), self._random.choice((100, 100, 200, 1 << 20))
        lease_us = self._random.choice((SECOND, 30 * SECOND))
        self.steps.append(f"subscribe {events} events, {size} bytes, lease {lease_us}")
        held = self._held()[:3] if self._random.random() < 0.3 else []
        self._open.append(await self.bench.subscribe(events, size, held=held, lease_us=lease_us))

    async def _vanish(self) -> None:
        if self._open:
            subscriber = self._open.pop(self._random.randrange(len(self._open)))
            self.steps.append(f"vanish {subscriber.session.options.session_id}")
            await subscriber.vanish()
            await self.bench.advance(0)

    async def _stall(self) -> None:
        """A session's reader stops reading: the next frame is not taken."""
        if self._open and not self._stuck:
            self._stuck = [self._random.choice(self._open)]
            self.steps.append(f"stall {self._stuck[0].session.options.session_id}")
            self._stuck[0].stop_reading()

    async def _unstall(self) -> None:
        for subscriber in self._stuck:
            self.steps.append("resume reading")
            subscriber.resume_reading()
        self._stuck = []
        await self.bench.advance(0)

    async def _settle(self) -> None:
        leases = self._held()
        chosen = self._random.sample(leases, min(len(leases), self._random.choice((1, 1, 3, 50))))
        action = self._random.choice(("ack", "ack", "nack", "release"))
        self.steps.append(f"{action} {len(chosen)}")
        if action == "ack":
            await self.bench.engine.ack(TOPIC, GROUP, chosen)
        else:
            kind = NackAction.RELEASE if action == "release" else NackAction.RETRY
            await self.bench.engine.nack(TOPIC, GROUP, [NackRef(lease, kind, SECOND // 2) for lease in chosen])
        await self.bench.advance(0)

    async def _extend(self) -> None:
        leases = self._held()
        chosen = self._random.sample(leases, min(len(leases), self._random.choice((1, 3, 50))))
        self.steps.append(f"extend {len(chosen)}")
        await self.bench.engine.extend(TOPIC, GROUP, chosen, self._random.choice((SECOND, 30 * SECOND)))
        await self.bench.advance(0)

    async def _advance(self) -> None:
        """Let time pass in steps no longer than the sweep interval, and end with a sweep."""
        for _ in range(self._random.choice((1, 1, 3, 12))):
            await self.bench.advance(self._random.randrange(SECOND))
        await self.bench.engine.expire_leases()
        await self.bench.advance(0)
        self.steps.append(f"it is {self.bench.clock.now_us()}")

    def _held(self) -> list[LeaseRef]:
        return [lease for subscriber in self._open for lease in subscriber.session.window.held()]


@pytest.mark.parametrize("latency", [0, 3, 30])
@pytest.mark.parametrize("seed", range(15))
async def test_no_event_waits_while_a_session_has_room_for_it(bench: Bench, seed: int, latency: int) -> None:
    """``latency`` is how many turns of the loop an answer takes, so that later steps overtake it."""
    history = RandomHistory(bench, seed)
    await bench.dispatch(new_event(body=b"x"))
    bench.engine.latency = latency
    for _ in range(STEPS):
        await history.step()
        if await history.is_quiet():
            waiting = history.left_waiting()
            assert waiting is None, "\n".join([*history.steps, f"{waiting} waits, although a session has room for it"])
            wrong = history.with_wrong_window()
            assert wrong is None, "\n".join([*history.steps, f"the window of {wrong} differs from its leases"])
    for by_us in (0, SECOND):
        await bench.advance(by_us)
        while not await history.is_quiet():
            pass
    assert history.left_waiting(thorough=True) is None, "\n".join(history.steps)
