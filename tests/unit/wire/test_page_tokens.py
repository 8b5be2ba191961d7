"""Page tokens: opaque and bound to their request; everything else is bad input."""

from __future__ import annotations

import json
from base64 import urlsafe_b64encode

import pytest
from duebus_server.domain.errors import InvalidArgument
from duebus_server.wire.paging import page_token, read_page_token


def encoded(text: str) -> str:
    return urlsafe_b64encode(text.encode()).decode()


def test_a_token_leads_back_to_its_place() -> None:
    assert read_page_token(page_token("orders", "local", 3), ("local", 3)) == "orders"


def test_there_is_no_token_after_the_last_page_and_none_before_the_first() -> None:
    assert page_token(None, "local") == ""
    assert read_page_token("", ("local",)) is None


@pytest.mark.parametrize(
    "token",
    [
        page_token("orders", "redis", 3),
        page_token("orders", "local", 4),
        page_token("orders", "local"),
        page_token("orders"),
        encoded(json.dumps([17, "local", 3])),
        encoded(json.dumps([None, "local", 3])),
        encoded(json.dumps(["\ud800", "local", 3])),
        encoded(json.dumps(["größe", "local", 3])),
        encoded(json.dumps([])),
        encoded(json.dumps({})),
        encoded(json.dumps({"orders": 1})),
        encoded("17"),
        encoded("null"),
        encoded('"orders"'),
        encoded("[" * 100_000),
        encoded("not json"),
        urlsafe_b64encode(b"\xff\xfe").decode(),
        "not base64!",
        "x",
        "größe",
    ],
    ids=range(20),
)
def test_a_token_of_another_request_is_refused(token: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        read_page_token(token, ("local", 3))
    assert caught.value.violation.field == "page_token"
