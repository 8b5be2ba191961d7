"""The window: how much one stream may hold."""

from __future__ import annotations

import pytest
from duebus_server.delivery.window import MAX_FRAME_BYTES, Window
from duebus_server.domain.model import LeasedEvent, LeaseRef


def leased(fencing_token: int, size: int) -> LeasedEvent:
    return LeasedEvent(f"event-{fencing_token}", b"x" * size, fencing_token, 1, 0, 0, 0, "")


def test_an_empty_window_requests_all_it_may_hold_and_at_least_one_event() -> None:
    request = Window(64, 1_000).request(30)
    assert (request.max_events, request.max_bytes, request.at_least_one, request.lease_us) == (64, 1_000, True, 30)


def test_held_leases_reduce_the_request() -> None:
    window = Window(64, 1_000)
    window.hold_all([leased(1, 100), leased(2, 200)])
    request = window.request(None)
    assert (request.max_events, request.max_bytes, request.at_least_one) == (62, 700, False)


def test_a_request_is_limited_to_one_frame() -> None:
    assert Window(64, 1 << 30).request(None).max_bytes == MAX_FRAME_BYTES


def test_a_request_is_limited_in_its_number_of_events() -> None:
    window = Window(100_000, 1 << 30)
    assert window.request(None).max_events == 500
    window.hold_all([leased(number, 1) for number in range(99_500)])
    assert window.request(None).max_events == 500


def test_the_number_of_events_limits_the_window() -> None:
    window = Window(2, 1_000)
    window.hold(1, "a", 1)
    assert window.has_room()
    window.hold(2, "b", 1)
    assert not window.has_room()


def test_the_bytes_limit_the_window() -> None:
    window = Window(64, 1_000)
    window.hold(1, "a", 999)
    assert window.has_room()
    window.hold(2, "b", 1)
    assert not window.has_room()


@pytest.mark.parametrize("max_bytes", [1, 1_000])
def test_an_event_larger_than_the_window_fits_alone(max_bytes: int) -> None:
    window = Window(64, max_bytes)
    assert window.request(None).at_least_one
    window.hold(1, "large", 5_000)
    assert not window.has_room()
    window.drop([1])
    assert window.has_room()
    assert window.request(None).max_bytes == max_bytes


def test_leases_that_end_make_room_once() -> None:
    window = Window(2, 1_000)
    window.hold_all([leased(1, 600), leased(2, 400)])
    window.drop([1, 1])
    window.drop([1])
    assert len(window) == 1
    assert window.request(None).max_bytes == 600


def test_unknown_leases_change_nothing() -> None:
    window = Window(2, 1_000)
    window.hold(1, "a", 600)
    window.drop([7, 8])
    assert window.held() == [LeaseRef("a", 1)]
    assert window.request(None).max_bytes == 400


def test_adopted_leases_may_exceed_the_window_and_then_nothing_fits() -> None:
    window = Window(1, 10)
    window.hold(1, "a", 600)
    window.hold(2, "b", 600)
    assert not window.has_room()
    window.drop([1])
    assert not window.has_room()
    window.drop([2])
    assert window.has_room()


def test_a_refill_is_limited_to_one_frame() -> None:
    """What does not fit into it is passed over, and a smaller one after it is taken."""
    window = Window(4, 4 * MAX_FRAME_BYTES)
    sizes = [MAX_FRAME_BYTES - 10, 11, 10]
    window.hold_all([leased(number, size) for number, size in enumerate(sizes, start=1)])
    settled = [LeaseRef(f"event-{number}", number) for number in (1, 2, 3, 9)]

    refill = window.refill(settled, "session", 30)

    assert refill is not None
    assert (refill.sizes, refill.spare_bytes) == ({1: sizes[0], 3: sizes[2]}, 0)
