"""How events look in Redis; the layouts stand in ``DATA_MODEL.md``.

Ids and bodies are packed, because a million waiting events pay for every byte: a canonical UUID takes 17 bytes instead
of 36, and the id is cut from the front of the body, where the serializer put it.
"""

from __future__ import annotations

import re
import struct
from typing import TYPE_CHECKING
from zlib import crc32

from duebus_server.domain.event_ids import id_field

if TYPE_CHECKING:
    from duebus_server.domain.model import NewEvent

_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_UUID_MARK = 0
"""No id that a client may choose begins with this byte: ids are printable."""

_TAIL = struct.Struct(">BIB")
"""Flags, max_retries, length of the origin; the checksum, the origin and the body follow."""

_CHECKSUM = struct.Struct(">I")
"""CRC-32 of the packed id, the tail, the origin and the body."""

_HEADER = struct.Struct(">QIBIBI")
"""The time of dispatch and the place in the order of dispatch, which the script puts in front, tail and checksum."""

_IN_FRONT = 12
"""Bytes that the script puts in front."""

_NO_MAX_RETRIES = 0xFFFFFFFF
_FLAG_CHOSEN = 1
"""The client chose the id, so it is remembered for the dedupe window."""
_FLAG_ID_CUT = 2
"""The id was cut from the front of the body."""

_MAX_ORIGIN = 64


class CorruptEventError(ValueError):
    """Stored bytes that this engine did not write."""


def pack_id(event_id: str) -> bytes:
    """An id as Redis holds it."""
    if len(event_id) == 36 and _UUID.fullmatch(event_id):  # noqa: PLR2004  # the length of a UUID
        return b"\0" + bytes.fromhex(event_id.replace("-", ""))
    return event_id.encode()


def unpack_id(packed: bytes) -> str:
    """An id as the bus knows it."""
    if packed[:1] == b"\0":
        text = packed[1:].hex()
        return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"
    return packed.decode(errors="backslashreplace")  # no id of ours needs it


def pack_event(event: NewEvent, origin: str) -> bytes:
    """What is stored of an event, but for the time of dispatch and the place."""
    front = id_field(event.id)
    cut = event.body.startswith(front)
    flags = (0 if event.id_is_generated else _FLAG_CHOSEN) | (_FLAG_ID_CUT if cut else 0)
    max_retries = _NO_MAX_RETRIES if event.max_retries is None else event.max_retries
    who = origin.encode()[:_MAX_ORIGIN]
    body = event.body[len(front) :] if cut else event.body
    tail = _TAIL.pack(flags, min(max_retries, _NO_MAX_RETRIES), len(who))
    content = who + body
    return tail + _CHECKSUM.pack(_checksum(pack_id(event.id), tail, content)) + content


class StoredBlob:
    """What is stored of an event.

    Raises:
        CorruptEventError: the bytes are not of this layout.
    """

    __slots__ = ("_blob", "_flags", "_start", "dispatched_us", "max_retries")

    def __init__(self, packed_id: bytes, blob: bytes) -> None:
        try:
            self.dispatched_us, _, self._flags, max_retries, origin_length, checksum = _HEADER.unpack_from(blob)
        except struct.error as error:
            raise CorruptEventError("the stored event is corrupt") from error
        tail = blob[_IN_FRONT : _IN_FRONT + _TAIL.size]
        if checksum != _checksum(packed_id, tail, memoryview(blob)[_HEADER.size :]):
            raise CorruptEventError("the stored event is corrupt")
        self.max_retries = None if max_retries == _NO_MAX_RETRIES else max_retries
        self._start = _HEADER.size + origin_length
        self._blob = blob

    def body(self, event_id: str) -> bytes:
        """The event as it came over the wire."""
        body = self._blob[self._start :]
        return id_field(event_id) + body if self._flags & _FLAG_ID_CUT else body

    @property
    def origin(self) -> str:
        """Who dispatched it."""
        return self._blob[_HEADER.size : self._start].decode(errors="replace")


def _checksum(packed_id: bytes, tail: bytes, content: bytes | memoryview) -> int:
    return crc32(content, crc32(packed_id + tail))
