"""Callers' text can't control the terminal of a reader of the log."""

from __future__ import annotations

import io
import sys

import pytest
from duebus_server.ops import logs
from duebus_server.ops.logs import escape_control

BAD = "order\x1b]0;owned\x07\r\n2026 fake line\x9b2J\u202e"


@pytest.mark.parametrize("value", [BAD, ValueError(BAD), BAD.encode(), [BAD]])
def test_control_characters_are_escaped(value: object) -> None:
    event = escape_control(None, "info", {"event": BAD, "topic": value, "count": 3, "is": True, "exc_info": True})
    assert "".join(map(str, event.values())).isprintable()
    assert (event["count"], event["is"], event["exc_info"]) == (3, True, True)


def test_printable_text_is_unchanged() -> None:
    assert escape_control(None, "info", {"event": "café \\ 東京", "why": None}) == {
        "event": "café \\ 東京",
        "why": None,
    }


def test_control_characters_in_a_traceback_are_escaped() -> None:
    out = io.StringIO()
    try:
        raise ValueError(BAD)  # noqa: TRY301  # for its traceback
    except ValueError:
        logs._traceback(out, sys.exc_info())  # type: ignore[arg-type]  # there is one
    assert "ValueError" in out.getvalue()
    assert out.getvalue().replace("\n", "").isprintable()


def test_the_items_of_a_list_are_escaped() -> None:
    event = escape_control(None, "info", {"event": "events are dead", "event_ids": ["failed", BAD]})

    assert event["event_ids"][0] == "failed"
    assert not any(ord(character) < 32 for character in event["event_ids"][1])
