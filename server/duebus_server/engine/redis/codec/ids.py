"""Packs ids for Redis; ``DATA_MODEL.md`` describes the layout.

An id that the bus made takes 14 bytes instead of 36, so with Redis's overhead it fits into an allocation of 16 bytes.
Batches of such ids are packed and unpacked by column: their texts form a table with one row per id. For 100 ids that
takes a quarter of the time of packing one by one, for 1,000 a sixth, and it saves a sixth of the server's cost of a
dispatch. ``bench/redis_codec.py`` measures it.
"""

from __future__ import annotations

import re
from binascii import hexlify, unhexlify
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_MADE_UUID = re.compile(r"(?:0[1-9a-f]|1[0-9a-f])[0-9a-f]{6}-[0-9a-f]{4}-7[0-9a-f]{3}-800[0-9a-f]-[0-9a-f]{12}")
"""As ``domain.event_ids`` makes them, until the year 3084."""

_MADE_SIZE = 14
_TEXT_SIZE = 36
_MADE_FORM = b"........-....-7...-800.-............"
_MADE_DIGITS = tuple(at for at, sign in enumerate(_MADE_FORM) if sign == ord("."))
"""The positions of the packed digits."""
_MADE_FIXED = tuple((at, _MADE_FORM[at : at + 1]) for at in range(_TEXT_SIZE) if at not in _MADE_DIGITS)
_HEX = b"0123456789abcdef"
_FEW = 24
"""Up to this many ids are packed or unpacked faster one by one."""

_UUID_MARK = b"\0"
_FIRST_PRINTABLE = 0x20
"""Ids that clients choose are printable; packed UUIDs begin with a smaller byte."""
_MADE_FIRST = bytes(range(1, _FIRST_PRINTABLE))
"""The first byte of ids that the bus made."""


_PLACE_SIZE, _PRIORITY_SIZE = 4, 4
_HAS_KEY, _HAS_PRIORITY = 1, 2
"""Bits of the place."""


def packed_id_in(member: bytes) -> bytes:
    """The packed id in a member of a sorted set; as ``size_of_place`` in ``common.lua``."""
    marks = member[_PLACE_SIZE - 1] if len(member) > _PLACE_SIZE else 0
    size = _PLACE_SIZE
    if marks & _HAS_KEY:
        size += 1 + member[_PLACE_SIZE]
    is_damaged = size == _PLACE_SIZE + 1
    if marks & _HAS_PRIORITY:
        size += _PRIORITY_SIZE
    return member[_PLACE_SIZE:] if is_damaged or size > len(member) else member[size:]


def pack_id(event_id: str) -> bytes:
    """An id as Redis holds it."""
    if len(event_id) == 36 and _UUID.fullmatch(event_id):  # noqa: PLR2004  # the length of a UUID
        if _MADE_UUID.fullmatch(event_id):
            return bytes.fromhex(event_id[:8] + event_id[9:13] + event_id[15:18] + event_id[22] + event_id[24:])
        return _UUID_MARK + bytes.fromhex(event_id.replace("-", ""))
    return event_id.encode()


def pack_ids(event_ids: Sequence[str]) -> list[bytes]:
    """``pack_id`` for each, at a tenth of the cost for a batch of ids that the bus made."""
    if len(event_ids) > _FEW:
        packed = _pack_made(event_ids)
        if packed is not None:
            return packed
    return [pack_id(event_id) for event_id in event_ids]


def _pack_made(event_ids: Sequence[str]) -> list[bytes] | None:
    """Ids that the bus made; None if one is not."""
    count = len(event_ids)
    text = "".join(event_ids).encode()
    if {len(text), *map(len, event_ids)} != {_TEXT_SIZE * count, _TEXT_SIZE}:
        return None
    if any(text[at::_TEXT_SIZE] != sign * count for at, sign in _MADE_FIXED):
        return None
    digits = bytearray(2 * _MADE_SIZE * count)
    for to, at in enumerate(_MADE_DIGITS):
        digits[to :: 2 * _MADE_SIZE] = text[at::_TEXT_SIZE]
    if digits.translate(None, _HEX):
        return None
    packed = unhexlify(digits)
    if packed[::_MADE_SIZE].translate(None, _MADE_FIRST):
        return None
    return [packed[at : at + _MADE_SIZE] for at in range(0, len(packed), _MADE_SIZE)]


def unpack_ids(packed_ids: Sequence[bytes]) -> list[str]:
    """``unpack_id`` for each, as cheaply as ``pack_ids``."""
    if len(packed_ids) > _FEW:
        event_ids = _unpack_made(packed_ids)
        if event_ids is not None:
            return event_ids
    return [unpack_id(packed) for packed in packed_ids]


def _unpack_made(packed_ids: Sequence[bytes]) -> list[str] | None:
    """Ids that the bus made; None if one is not."""
    count = len(packed_ids)
    packed = b"".join(packed_ids)
    if {*map(len, packed_ids)} != {_MADE_SIZE} or packed[::_MADE_SIZE].translate(None, _MADE_FIRST):
        return None
    digits = hexlify(packed)
    table = bytearray(_MADE_FORM * count)
    for to, at in enumerate(_MADE_DIGITS):
        table[at::_TEXT_SIZE] = digits[to :: 2 * _MADE_SIZE]
    text = table.decode()
    return [text[at : at + _TEXT_SIZE] for at in range(0, len(text), _TEXT_SIZE)]


def unpack_id(packed: bytes) -> str:
    """An id as text."""
    if packed[:1] == _UUID_MARK:
        text = packed[1:].hex()
        return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"
    if len(packed) == _MADE_SIZE and packed[0] < _FIRST_PRINTABLE:
        text = packed.hex()
        return f"{text[:8]}-{text[8:12]}-7{text[12:15]}-800{text[15]}-{text[16:]}"
    return packed.decode(errors="backslashreplace")  # no valid id needs it
