"""The waker wakes one session at a time, in order, when an event is due."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from duebus_server.delivery.waker import Waker
from duebus_server.domain.clock import SECOND, ManualClock
from duebus_server.domain.model import LeaseRef, LeaseRequest, Refill, Reservation
from support.engines import START_US

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


class Waiter:
    """A session that only records when it is woken.

    Args:
        wake: called when it is woken.
        has_room: whether a dispatch can reserve its room.
    """

    def __init__(self, name: str, wake: Callable[[], None], *, has_room: bool = True) -> None:
        self.wake = wake
        self.name = name
        self._reservation = Reservation("billing", name, LeaseRequest(1, 1)) if has_room else None

    def reserve(self) -> Reservation | None:
        return self._reservation

    def refill(self, settled: Sequence[LeaseRef]) -> Refill | None:
        """It holds the lease of the event that has its name."""
        return Refill(self.name, {1: 10}, 0) if self.name in [event_id for event_id, _ in settled] else None


class Queue:
    """A waker with sessions that only record when they are woken."""

    def __init__(self, engine_ahead_us: int = 0) -> None:
        self.clock = ManualClock(START_US)
        self.waker = Waker(self.clock, lambda: self.clock.now_us() + engine_ahead_us)
        self.woken: list[tuple[str, int]] = []
        self._waiters: dict[str, Waiter] = {}

    def waiter(self, name: str, *, has_room: bool = True) -> Waiter:
        """The session of this name."""
        if name not in self._waiters:
            self._waiters[name] = Waiter(name, lambda: self._was_woken(name), has_room=has_room)
        return self._waiters[name]

    def _was_woken(self, name: str) -> None:
        self.woken.append((name, self.clock.now_us() - START_US))

    def wait(self, name: str, next_due_us: int | None = None) -> None:
        """The session has leased nothing, and waits."""
        self.waker.wait(self.waiter(name), next_due_us, self.waker.changes)

    def wait_for_another(self, name: str, too_large_us: int) -> None:
        """The session had no room for the event that is due first, and waits."""
        self.waker.wait_for_another(self.waiter(name), too_large_us, self.waker.changes)

    def due(self, after_us: int = 0) -> None:
        """The engine reports that something is due."""
        self.waker.due(self.clock.now_us() + after_us)


@pytest.fixture
def queue() -> Queue:
    return Queue()


def test_an_event_wakes_the_one_session_that_has_waited_longest(queue: Queue) -> None:
    for name in ("a", "b", "c"):
        queue.wait(name)
    queue.due()
    assert queue.woken == [("a", 0)]
    queue.due()
    assert queue.woken == [("a", 0), ("b", 0)]


def test_a_woken_session_that_waits_again_goes_to_the_end(queue: Queue) -> None:
    queue.wait("a")
    queue.wait("b")
    queue.due()
    queue.wait("a")
    queue.due()
    queue.due()
    assert [name for name, _ in queue.woken] == ["a", "b", "a"]


def test_sessions_are_woken_when_an_event_is_due_and_not_before(queue: Queue) -> None:
    queue.wait("a")
    queue.wait("b")
    queue.due(after_us=SECOND)
    queue.clock.advance(SECOND - 1)
    assert queue.woken == []
    queue.clock.advance(1)
    assert queue.woken == [("a", SECOND)]


def test_an_earlier_event_moves_the_timer_forward(queue: Queue) -> None:
    queue.wait("a", START_US + 10 * SECOND)
    queue.due(after_us=2 * SECOND)
    queue.clock.advance(2 * SECOND)
    assert queue.woken == [("a", 2 * SECOND)]


def test_a_later_event_leaves_the_timer_alone(queue: Queue) -> None:
    queue.wait("a", START_US + 2 * SECOND)
    queue.due(after_us=10 * SECOND)
    queue.clock.advance(10 * SECOND)
    assert queue.woken == [("a", 2 * SECOND)]


def test_a_timer_that_was_moved_fires_once(queue: Queue) -> None:
    queue.wait("a", START_US + 10 * SECOND)
    queue.wait("b")
    queue.due(after_us=2 * SECOND)
    queue.clock.advance(60 * SECOND)
    assert queue.woken == [("a", 2 * SECOND)], "a wakes b if it finds more that is due"


def test_the_timer_remains_for_sessions_behind_one_that_is_woken_for_another_event(queue: Queue) -> None:
    """Two sessions wait for a late event. One is woken for another event, leases it, and reports what is due next."""
    late_us = START_US + 10 * SECOND
    queue.wait("a", late_us)
    queue.wait("b", late_us)
    queue.due()
    assert queue.woken == [("a", 0)]
    queue.waker.due(late_us)
    queue.clock.advance(10 * SECOND)
    assert queue.woken == [("a", 0), ("b", 10 * SECOND)]


def test_a_timer_set_by_a_waiting_session_fires_without_a_report(queue: Queue) -> None:
    queue.wait("a", START_US + SECOND)
    queue.clock.advance(SECOND)
    assert queue.woken == [("a", SECOND)]


def test_a_report_between_a_lease_and_waiting_is_not_lost(queue: Queue) -> None:
    seen = queue.waker.changes  # the session leases, and the engine has nothing yet...
    queue.due()  # ...and an event arrives before the answer, while no session is in the queue
    queue.waker.wait(queue.waiter("a"), None, seen)
    assert queue.woken == [("a", 0)]


def test_a_report_is_seen_once(queue: Queue) -> None:
    queue.due()
    queue.wait("a")
    assert queue.woken == []


def test_a_session_that_left_the_queue_is_skipped(queue: Queue) -> None:
    queue.wait("a")
    queue.wait("b")
    queue.waker.stop_waiting(queue.waiter("a"))
    queue.waker.stop_waiting(queue.waiter("never in the queue"))
    queue.due()
    assert queue.woken == [("b", 0)]


def test_no_timer_runs_while_no_session_waits(queue: Queue) -> None:
    queue.due(after_us=SECOND)
    assert queue.waker._timer is None
    queue.clock.advance(SECOND)
    queue.wait("a")
    assert queue.woken == []


def test_a_closed_waker_wakes_nobody(queue: Queue) -> None:
    queue.wait("a", START_US + SECOND)
    queue.waker.close()
    queue.clock.advance(SECOND)
    assert queue.woken == []


def test_due_times_follow_the_engines_clock() -> None:
    """The engine's clock is 3 s ahead, so what is due at its 10 s is due in 7 s."""
    queue = Queue(engine_ahead_us=3 * SECOND)
    queue.wait("a", START_US + 10 * SECOND)
    queue.clock.advance(7 * SECOND - 1)
    assert queue.woken == []
    queue.clock.advance(1)
    assert queue.woken == [("a", 7 * SECOND)]


# --- sessions without room for what is due next -----------------------------------------------------------------------


def test_a_session_without_room_is_not_woken_for_the_large_event(queue: Queue) -> None:
    queue.wait_for_another("a", START_US)
    for _ in range(3):
        queue.due()
    assert queue.woken == []


def test_a_session_without_room_checks_once_a_second(queue: Queue) -> None:
    queue.wait_for_another("a", START_US)
    queue.clock.advance(SECOND - 1)
    assert queue.woken == []
    queue.clock.advance(1)
    assert queue.woken == [("a", SECOND)]
    queue.clock.advance(10 * SECOND)
    assert queue.woken == [("a", SECOND)], "it has not started to wait again"
    queue.wait_for_another("a", START_US)
    queue.clock.advance(SECOND)
    assert queue.woken == [("a", SECOND), ("a", 12 * SECOND)]


def test_a_session_without_room_leaves_the_event_to_the_next_one(queue: Queue) -> None:
    queue.wait("b")
    queue.wait_for_another("a", START_US)
    assert [name for name, _ in queue.woken] == ["b"]


def test_after_the_large_event_is_leased_sessions_without_room_queue_again(queue: Queue) -> None:
    queue.wait_for_another("a", START_US)
    queue.wait_for_another("b", START_US)
    queue.waker.leased(None)
    assert queue.woken == [], "nothing is due"
    queue.due()
    queue.due()
    assert [name for name, _ in queue.woken] == ["a", "b"]


def test_after_the_large_event_is_leased_the_first_session_without_room_is_woken(queue: Queue) -> None:
    queue.wait_for_another("a", START_US)
    queue.wait_for_another("b", START_US)
    queue.waker.leased(START_US)
    assert [name for name, _ in queue.woken] == ["a"]


def test_an_event_due_before_the_large_one_wakes_a_session_without_room(queue: Queue) -> None:
    queue.wait_for_another("a", START_US)
    queue.waker.due(START_US - 1)
    assert [name for name, _ in queue.woken] == ["a"]


def test_a_report_between_a_lease_and_waiting_for_another_event_is_not_lost(queue: Queue) -> None:
    seen = queue.waker.changes
    queue.waker.leased(None)  # another session has taken the large event meanwhile
    queue.waker.wait_for_another(queue.waiter("a"), START_US, seen)
    assert [name for name, _ in queue.woken] == ["a"]


def test_a_session_without_room_that_left_the_queue_is_skipped(queue: Queue) -> None:
    queue.wait_for_another("a", START_US)
    queue.waker.stop_waiting(queue.waiter("a"))
    queue.waker.leased(START_US)
    queue.due()
    assert queue.woken == []
