"""Ids for events that arrive without one: UUIDs of version 7 (RFC 9562, section 5.7).

The events of one request get ids that sort in request order: the same millisecond, then the index in the request in
``rand_a``. ``rand_b`` is one number for the whole request, and it is made from the request id where there is one. So
the ids of a request can be made again from its time and its id, and need not be stored to answer a repetition.
Of ``rand_b`` the first ten bits are zero, so that an engine can keep an id in 14 bytes; the other 52 tell apart the
requests of one millisecond.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from hashlib import blake2b
from typing import overload

from duebus_server.domain.clock import MILLISECOND

_VARIANT = 0b10 << 62
_RANDOM_BITS = 52
_PLACE = slice(15, 18)
"""Where an id holds the event's index in the request."""
_AFTER_TIME = 13
"""The position where the rest of an id begins, after the time."""
_INDEXES = tuple(f"{index:03x}" for index in range(1 << 12))
"""Each index as it is written in an id."""


class EventIds:
    """The ids of one request.

    Args:
        now_us: when the request arrived, in microseconds; the ids contain it in milliseconds.
        request_id: given by the caller; if it is empty, a random number takes its place.
    """

    __slots__ = ("_head", "_tail")

    def __init__(self, now_us: int, request_id: str) -> None:
        time = f"{now_us // MILLISECOND:012x}"
        rand_b = f"{_VARIANT | _rand_b(request_id):016x}"
        self._head = f"{time[:8]}-{time[8:]}-7"
        self._tail = f"-{rand_b[:4]}-{rand_b[4:]}"

    def at(self, index: int) -> str:
        """The id of the event at this index in the request, 0 to 4095."""
        return f"{self._head}{_INDEXES[index]}{self._tail}"


def made_at(time_ms: int, event_id: str) -> str:
    """The id that ``EventIds`` gave an event when its request first arrived, from the id of a repetition."""
    time = f"{time_ms:012x}"
    return f"{time[:8]}-{time[8:]}{event_id[_AFTER_TIME:]}"


class IdRun(Sequence[str]):
    """The ids that ``EventIds`` gave the first ``count`` events of a request, stored as one id."""

    __slots__ = ("_count", "_first")

    def __init__(self, first: str, count: int) -> None:
        self._first = first
        self._count = count

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, index: int) -> str: ...

    @overload
    def __getitem__(self, index: slice) -> list[str]: ...

    def __getitem__(self, index: int | slice) -> str | list[str]:
        indexes = range(self._count)[index]
        return self._at(indexes) if isinstance(indexes, int) else [self._at(one) for one in indexes]

    def joined(self) -> str:
        """All ids, one per line, made in one step."""
        head, tail = self._around()
        return head + f"{tail}\n{head}".join(_INDEXES[: self._count]) + tail

    def _at(self, index: int) -> str:
        head, tail = self._around()
        return f"{head}{_INDEXES[index]}{tail}"

    def _around(self) -> tuple[str, str]:
        return self._first[: _PLACE.start], self._first[_PLACE.stop :]


def shortened(ids: Sequence[str]) -> Sequence[str]:
    """The same ids in less memory: as a run, if they are one."""
    run = IdRun(ids[0], len(ids))
    return run if run.joined() == "\n".join(ids) else ids


def _rand_b(request_id: str) -> int:
    if not request_id:
        return secrets.randbits(_RANDOM_BITS)
    return int.from_bytes(blake2b(request_id.encode(), digest_size=8).digest()) % (1 << _RANDOM_BITS)
