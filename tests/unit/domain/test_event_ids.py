"""Ids for events that arrive without one."""

from __future__ import annotations

from uuid import UUID

import pytest
from duebus_server.domain.event_ids import EventIds, IdRun, shortened

NOW_US = 1_795_470_958_203_782


def test_an_id_is_a_uuid_of_version_7_that_carries_the_time() -> None:
    made = UUID(EventIds(NOW_US, "request").at(999))
    assert made.version == 7
    assert made.variant == "specified in RFC 4122"
    assert made.int >> 80 == NOW_US // 1_000


def test_the_ids_of_a_request_sort_in_request_order() -> None:
    ids = EventIds(NOW_US, "")
    made = [ids.at(index) for index in range(1_000)]
    assert made == sorted(set(made))


def test_ids_can_be_made_again_from_the_time_and_the_request_id() -> None:
    assert EventIds(NOW_US, "request").at(7) == EventIds(NOW_US, "request").at(7)


def test_other_requests_of_the_same_millisecond_get_other_ids() -> None:
    made = [EventIds(NOW_US, request_id).at(0) for request_id in ("", "", "one", "another")]
    assert len(set(made)) == 4


def test_the_ids_of_a_request_are_kept_as_a_run() -> None:
    ids = [EventIds(NOW_US, "request").at(index) for index in range(1_000)]

    run = shortened(ids)

    assert isinstance(run, IdRun)
    assert list(run) == ids
    assert (run[0], run[999], run[-1], run[1:3]) == (ids[0], ids[999], ids[999], ids[1:3])


@pytest.mark.parametrize(
    "ids", [["a"], [EventIds(NOW_US, "").at(0), "b"], [EventIds(NOW_US, "").at(1)], ["é" * 255] * 2]
)
def test_ids_that_are_not_a_run_are_kept_as_they_are(ids: list[str]) -> None:
    assert list(shortened(ids)) == ids
