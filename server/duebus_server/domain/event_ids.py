"""Ids for events that came without one: UUIDs of version 7 (RFC 9562, section 5.7).

The events of one request get ids that sort in request order: the same millisecond, then the place in the request in
``rand_a``. ``rand_b`` is one number for the whole request, and it is made from the request id where there is one. So
the ids of a request can be made again from its time and its id, and nobody need store them to answer a repetition.
"""

from __future__ import annotations

import secrets
from hashlib import blake2b

from duebus_server.domain.clock import MILLISECOND

_VARIANT = 0b10 << 62
_RAND_B_MASK = (1 << 62) - 1


class EventIds:
    """The ids of one request.

    Args:
        now_us: when the request came, in microseconds; the ids carry it in milliseconds.
        request_id: as the caller gave it; empty: a random number takes its place.
    """

    __slots__ = ("_head", "_tail")

    def __init__(self, now_us: int, request_id: str) -> None:
        time = f"{now_us // MILLISECOND:012x}"
        rand_b = f"{_VARIANT | (_rand_b(request_id) & _RAND_B_MASK):016x}"
        self._head = f"{time[:8]}-{time[8:]}-7"
        self._tail = f"-{rand_b[:4]}-{rand_b[4:]}"

    def at(self, place: int) -> str:
        """The id of the event at this place in the request, 0 to 4095."""
        return f"{self._head}{place:03x}{self._tail}"


def _rand_b(request_id: str) -> int:
    if not request_id:
        return secrets.randbits(62)
    return int.from_bytes(blake2b(request_id.encode(), digest_size=8).digest())
