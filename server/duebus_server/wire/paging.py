"""Pages of lists: which part of a list is asked for, and the tokens that lead from one page to the next."""

from __future__ import annotations

import json
from base64 import urlsafe_b64decode, urlsafe_b64encode

from duebus.v1 import admin_pb2

from duebus_server.domain import limits
from duebus_server.domain.errors import InvalidArgument
from duebus_server.domain.views import EventQuery, KeyQuery
from duebus_server.wire.admin_decode import check_place
from duebus_server.wire.names import STATE_FROM_PB

DEFAULT_PAGE = 100
MAX_PAGE = 1_000
MAX_PAGE_BYTES = 3 << 20
"""The most bytes of event bodies and errors in one answer. gRPC clients refuse messages over 4 MiB by default."""
MAX_TOKEN_CHARACTERS = 4 << 10
"""More than any page token needs."""


def page_size(requested: int) -> int:
    """The page size; 0 is the default.

    Raises:
        InvalidArgument: out of range.
    """
    limits.check_range("page_size", requested, 0, MAX_PAGE)
    return requested or DEFAULT_PAGE


def event_query(request: admin_pb2.ListEventsRequest) -> EventQuery:
    """Which events to list.

    Raises:
        NoTopicSpecified, InvalidArgument: a field is wrong.
    """
    check_place(request)
    state = STATE_FROM_PB.get(request.state)
    if state is None:
        raise InvalidArgument("state", "must be one of scheduled, ready, leased, dead, blocked")
    limits.check_text("key", request.key, limits.MAX_KEY_BYTES)
    return EventQuery(
        request.group,
        state,
        page_size(request.page_size),
        MAX_PAGE_BYTES,
        read_page_token(request.page_token, _list_key(request)),
        newest_first=_newest_first(request.order),
        key=request.key,
    )


def key_query(request: admin_pb2.ListKeysRequest) -> KeyQuery:
    """Which keys to list.

    Raises:
        NoTopicSpecified, InvalidArgument: a field is wrong.
    """
    check_place(request)
    cursor = read_page_token(request.page_token, _keys_key(request))
    return KeyQuery(request.group, page_size(request.page_size), cursor)


def page_token(cursor: str | None, *request_key: object) -> str:
    """An opaque token for the page that begins at ``cursor``, bound to the request it continues; "" for none."""
    if cursor is None:
        return ""
    return urlsafe_b64encode(json.dumps([cursor, *request_key]).encode()).decode()


def read_page_token(token: str, request_key: tuple[object, ...]) -> str | None:
    """The cursor of a token; None for "".

    Raises:
        InvalidArgument: it is not a token of this request.
    """
    if not token:
        return None
    try:
        cursor, *key = json.loads(urlsafe_b64decode(token[:MAX_TOKEN_CHARACTERS]))
    except (ValueError, TypeError, RecursionError):
        cursor, key = None, []
    if not isinstance(cursor, str) or not cursor.isascii() or key != list(request_key):
        raise InvalidArgument("page_token", "is not a page token of this request")
    return cursor


def list_events_token(cursor: str | None, request: admin_pb2.ListEventsRequest) -> str:
    """The token for the page after this one."""
    return page_token(cursor, *_list_key(request))


def list_keys_token(cursor: str | None, request: admin_pb2.ListKeysRequest) -> str:
    """The token for the page after this one."""
    return page_token(cursor, *_keys_key(request))


def _list_key(request: admin_pb2.ListEventsRequest) -> tuple[object, ...]:
    """What must stay the same from page to page."""
    return request.engine, request.topic, request.group, request.state, _newest_first(request.order), request.key


def _keys_key(request: admin_pb2.ListKeysRequest) -> tuple[object, ...]:
    return request.engine, request.topic, request.group


def _newest_first(order: int) -> bool:
    if order not in admin_pb2.ListEventsRequest.Order.values():
        raise InvalidArgument("order", f"there is no order number {order}")
    return order == admin_pb2.ListEventsRequest.ORDER_NEWEST_FIRST
