"""Packs events for Redis; ``DATA_MODEL.md`` describes the layouts.

Everything is packed, because with a million waiting events every byte counts. The usual case is fast: an origin is
packed once for all its events, and a body after an address is sliced without parsing the rest. That halves the time of
packing, and saves a third of the time of reading. ``bench/redis_codec.py`` measures it.
"""

from __future__ import annotations

import re
import struct
from functools import lru_cache
from socket import inet_aton, inet_ntoa
from typing import TYPE_CHECKING
from zlib import crc32

if TYPE_CHECKING:
    from collections.abc import Sequence

    from duebus_server.domain.model import NewEvent

_HEADER = struct.Struct(">QIBI")
"""The time of dispatch and the place in the order of dispatch, which the script adds; flags; CRC-32, seeded with the
flags, of the packed id and what follows: the key, priority and max_retries if flags say so, the origin, the body."""

_FRONT = struct.Struct(">BI")
"""The header of an event on its way to the script: flags; CRC-32."""
_LENGTHS = tuple(bytes((length,)) for length in range(0x100))
"""The length of a key, in one byte."""

_PRIORITY = struct.Struct(">i")
_MAX_RETRIES = struct.Struct(">I")
_GREATEST_MAX_RETRIES = 0xFFFFFFFF
_ADDRESS = struct.Struct(">4sH")
"""An origin that is an IPv4 address and a port."""

_FLAG_CHOSEN = 1
"""The client chose the id, so it is remembered for the dedupe window."""
_FLAG_KEY = 2
"""The event has a key. It is stored as its length in one byte, and its text."""
_FLAG_MAX_RETRIES = 4
"""The event has its own max_retries."""
_FLAG_ADDRESS = 8
"""The origin is an IPv4 address and a port; otherwise it is stored as its length in one byte, and its text."""

_FLAG_PRIORITY = 16
"""The event has a priority."""

_USUAL = _FLAG_ADDRESS
"""The flags of almost every event: its body is all that follows the address."""
_USUAL_MASK = _FLAG_ADDRESS | _FLAG_MAX_RETRIES | _FLAG_KEY | _FLAG_PRIORITY

_MAX_ORIGIN = 64
_GREATEST_PORT = 0xFFFF
_ADDRESS_FORM = "ipv4:{}:{}"
_ADDRESS_TEXT = re.compile(r"ipv4:(\d{1,3}(?:\.\d{1,3}){3}):(\d{1,5})", re.ASCII)


class CorruptEventError(ValueError):
    """The stored bytes were not written by this engine."""


def pack_events(events: Sequence[NewEvent], packed_ids: Sequence[bytes], origin: str) -> list[bytes]:
    """What is stored of events from one origin, as arguments of ``dispatch.lua``: packed id, blob, ...

    Not several events in one argument: Lua hashes every byte of a string, of the argument and again of each part that
    is cut from it.
    """
    common, who = _pack_origin(origin)
    packed: list[bytes] = []
    for event, packed_id in zip(events, packed_ids, strict=True):
        flags = common | (0 if event.id_is_generated else _FLAG_CHOSEN)
        content = who + event.body
        if event.max_retries is not None:
            flags |= _FLAG_MAX_RETRIES
            content = _MAX_RETRIES.pack(min(event.max_retries, _GREATEST_MAX_RETRIES)) + content
        if event.priority:
            flags |= _FLAG_PRIORITY
            content = _PRIORITY.pack(event.priority) + content
        if event.key:
            flags |= _FLAG_KEY
            key = event.key.encode()
            content = _LENGTHS[len(key)] + key + content
        checksum = crc32(content, crc32(packed_id, flags))
        packed += (packed_id, _FRONT.pack(flags, checksum) + content)
    return packed


def read_event(packed_id: bytes, blob: bytes) -> tuple[int, bytes]:
    """When a stored event was dispatched, in microseconds, and its body.

    Raises:
        CorruptEventError: the bytes do not have this layout.
    """
    dispatched_us, flags, content = _checked(packed_id, blob)
    if flags & _USUAL_MASK == _USUAL:
        return dispatched_us, content[_ADDRESS.size :]
    return dispatched_us, StoredBlob(packed_id, blob).body


def _checked(packed_id: bytes, blob: bytes) -> tuple[int, int, bytes]:
    """Time of dispatch, flags, and what follows the header.

    Raises:
        CorruptEventError: the bytes do not have this layout.
    """
    if len(blob) <= _HEADER.size:
        raise CorruptEventError("the stored event is corrupt")
    dispatched_us, _, flags, checksum = _HEADER.unpack_from(blob)
    content = blob[_HEADER.size :]
    if checksum != crc32(content, crc32(packed_id, flags)):
        raise CorruptEventError("the stored event is corrupt")
    return dispatched_us, flags, content


class StoredBlob:
    """A stored event.

    Raises:
        CorruptEventError: the bytes do not have this layout.
    """

    __slots__ = ("_blob", "_flags", "_origin", "_start", "dispatched_us", "max_retries")

    def __init__(self, packed_id: bytes, blob: bytes) -> None:
        self.dispatched_us, flags, _ = _checked(packed_id, blob)
        at = _HEADER.size
        if flags & _FLAG_KEY:
            at += 1 + blob[at]
        if flags & _FLAG_PRIORITY:
            at += _PRIORITY.size
        self.max_retries: int | None = None
        if flags & _FLAG_MAX_RETRIES:
            (self.max_retries,) = _MAX_RETRIES.unpack_from(blob, at)
            at += _MAX_RETRIES.size
        self._origin = at
        self._start = at + (_ADDRESS.size if flags & _FLAG_ADDRESS else 1 + blob[at])
        self._flags = flags
        self._blob = blob

    @property
    def body(self) -> bytes:
        """The event without its id, encoded."""
        return self._blob[self._start :]

    @property
    def origin(self) -> str:
        """Who dispatched it."""
        packed = self._blob[self._origin : self._start]
        if self._flags & _FLAG_ADDRESS:
            address, port = _ADDRESS.unpack(packed)
            return _ADDRESS_FORM.format(inet_ntoa(address), port)
        return packed[1:].decode(errors="replace")


@lru_cache(maxsize=256)
def _pack_origin(origin: str) -> tuple[int, bytes]:
    """The origin's flag and bytes."""
    address = _ADDRESS_TEXT.fullmatch(origin)
    if address:
        host, port = address.groups()
        # Only addresses that are unchanged when unpacked: no leading zeros, no numbers that are too large.
        if int(port) <= _GREATEST_PORT and _ADDRESS_FORM.format(_canonical(host), int(port)) == origin:
            return _FLAG_ADDRESS, _ADDRESS.pack(inet_aton(host), int(port))
    who = origin.encode()[:_MAX_ORIGIN]
    return 0, bytes((len(who),)) + who


def _canonical(host: str) -> str:
    """The address in the form of ``inet_ntoa``; empty if it is not one."""
    try:
        return inet_ntoa(inet_aton(host))
    except OSError:
        return ""
