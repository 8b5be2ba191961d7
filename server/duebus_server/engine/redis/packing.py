"""How events look in Redis; the layouts stand in ``DATA_MODEL.md``.

All is packed, because a million waiting events pay for every byte. An id that the bus made takes 14 bytes, not 36, so
that the allocator's piece of 16 holds it with what Redis adds; and the id is cut from the front of the body, where the
serializer put it.
"""

from __future__ import annotations

import re
import struct
from functools import lru_cache
from socket import inet_aton, inet_ntoa
from typing import TYPE_CHECKING
from zlib import crc32

from duebus_server.domain.event_ids import id_field

if TYPE_CHECKING:
    from duebus_server.domain.model import NewEvent

_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_MADE_UUID = re.compile(r"(?:0[1-9a-f]|1[0-9a-f])[0-9a-f]{6}-[0-9a-f]{4}-7[0-9a-f]{3}-800[0-9a-f]-[0-9a-f]{12}")
"""As ``domain.event_ids`` makes them, until the year 3084."""

_MADE_SIZE = 14
_UUID_MARK = b"\0"
_FIRST_PRINTABLE = 0x20
"""Ids that clients choose are printable; packed UUIDs begin with a smaller byte."""

_HEADER = struct.Struct(">QIBI")
"""The time of dispatch and the place in the order of dispatch, which the script puts in front; flags; CRC-32 of the
packed id, the flags and what follows: max_retries where a flag says so, the origin, the body."""

_IN_FRONT = 12
"""Bytes that the script puts in front."""

_TAIL = struct.Struct(">BI")
"""Flags and CRC-32."""

_MAX_RETRIES = struct.Struct(">I")
_GREATEST_MAX_RETRIES = 0xFFFFFFFF
_ADDRESS = struct.Struct(">4sH")
"""An origin that is an IPv4 address and a port."""

_FLAG_CHOSEN = 1
"""The client chose the id, so it is remembered for the dedupe window."""
_FLAG_ID_CUT = 2
"""The id was cut from the front of the body."""
_FLAG_MAX_RETRIES = 4
"""The event has a max_retries of its own."""
_FLAG_ADDRESS = 8
"""The origin is an IPv4 address and a port; otherwise it is its length in one byte, and its text."""

_MAX_ORIGIN = 64
_GREATEST_PORT = 0xFFFF
_ADDRESS_FORM = "ipv4:{}:{}"
_ADDRESS_TEXT = re.compile(r"ipv4:(\d{1,3}(?:\.\d{1,3}){3}):(\d{1,5})", re.ASCII)


class CorruptEventError(ValueError):
    """Stored bytes that this engine did not write."""


def pack_id(event_id: str) -> bytes:
    """An id as Redis holds it."""
    if len(event_id) == 36 and _UUID.fullmatch(event_id):  # noqa: PLR2004  # the length of a UUID
        if _MADE_UUID.fullmatch(event_id):
            return bytes.fromhex(event_id[:8] + event_id[9:13] + event_id[15:18] + event_id[22] + event_id[24:])
        return _UUID_MARK + bytes.fromhex(event_id.replace("-", ""))
    return event_id.encode()


def unpack_id(packed: bytes) -> str:
    """An id as the bus knows it."""
    if packed[:1] == _UUID_MARK:
        text = packed[1:].hex()
        return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"
    if len(packed) == _MADE_SIZE and packed[0] < _FIRST_PRINTABLE:
        text = packed.hex()
        return f"{text[:8]}-{text[8:12]}-7{text[12:15]}-800{text[15]}-{text[16:]}"
    return packed.decode(errors="backslashreplace")  # no id of ours needs it


def pack_event(event: NewEvent, packed_id: bytes, origin: str) -> bytes:
    """What is stored of an event, but for the time of dispatch and the place."""
    front = id_field(event.id)
    cut = event.body.startswith(front)
    flags, who = _pack_origin(origin)
    flags |= (0 if event.id_is_generated else _FLAG_CHOSEN) | (_FLAG_ID_CUT if cut else 0)
    own = b""
    if event.max_retries is not None:
        flags |= _FLAG_MAX_RETRIES
        own = _MAX_RETRIES.pack(min(event.max_retries, _GREATEST_MAX_RETRIES))
    content = own + who + (event.body[len(front) :] if cut else event.body)
    return _TAIL.pack(flags, _checksum(packed_id, flags, content)) + content


class StoredBlob:
    """What is stored of an event.

    Raises:
        CorruptEventError: the bytes are not of this layout.
    """

    __slots__ = ("_blob", "_flags", "_origin", "_start", "dispatched_us", "max_retries")

    def __init__(self, packed_id: bytes, blob: bytes) -> None:
        if len(blob) <= _HEADER.size:
            raise CorruptEventError("the stored event is corrupt")
        self.dispatched_us, _, flags, checksum = _HEADER.unpack_from(blob)
        if checksum != _checksum(packed_id, flags, memoryview(blob)[_HEADER.size :]):
            raise CorruptEventError("the stored event is corrupt")
        at = _HEADER.size
        self.max_retries: int | None = None
        if flags & _FLAG_MAX_RETRIES:
            (self.max_retries,) = _MAX_RETRIES.unpack_from(blob, at)
            at += _MAX_RETRIES.size
        self._origin = at
        self._start = at + (_ADDRESS.size if flags & _FLAG_ADDRESS else 1 + blob[at])
        self._flags = flags
        self._blob = blob

    def body(self, event_id: str) -> bytes:
        """The event as it came over the wire."""
        body = self._blob[self._start :]
        return id_field(event_id) + body if self._flags & _FLAG_ID_CUT else body

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
    """Flag and bytes."""
    address = _ADDRESS_TEXT.fullmatch(origin)
    if address:
        host, port = address.groups()
        # Only what comes back as it was: no leading zeros, no numbers that are too large.
        if int(port) <= _GREATEST_PORT and _ADDRESS_FORM.format(_canonical(host), int(port)) == origin:
            return _FLAG_ADDRESS, _ADDRESS.pack(inet_aton(host), int(port))
    who = origin.encode()[:_MAX_ORIGIN]
    return 0, bytes((len(who),)) + who


def _canonical(host: str) -> str:
    """The address as ``inet_ntoa`` writes it; empty when it is none."""
    try:
        return inet_ntoa(inet_aton(host))
    except OSError:
        return ""


def _checksum(packed_id: bytes, flags: int, content: bytes | memoryview) -> int:
    return crc32(content, crc32(packed_id + bytes((flags,))))
