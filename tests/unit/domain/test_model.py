"""When a new event is due."""

from __future__ import annotations

import pytest
from duebus_server.domain.model import NewEvent

NOW_US = 1_767_225_600_000_000


@pytest.mark.parametrize(
    ("event", "due_us"),
    [
        (NewEvent("e", b""), NOW_US),
        (NewEvent("e", b"", delay_us=0), NOW_US),
        (NewEvent("e", b"", delay_us=5), NOW_US + 5),
        (NewEvent("e", b"", deliver_at_us=NOW_US + 7), NOW_US + 7),
        (NewEvent("e", b"", deliver_at_us=NOW_US - 7), NOW_US),
        (NewEvent("e", b"", deliver_at_us=0), NOW_US),
    ],
)
def test_an_event_is_due_when_it_says_and_never_before_now(event: NewEvent, due_us: int) -> None:
    assert event.due_us(NOW_US) == due_us
