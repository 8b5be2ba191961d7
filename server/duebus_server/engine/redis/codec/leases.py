"""Leases as arguments of the scripts, and what the scripts hand out as leased events."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

from duebus_server.domain.model import LeasedEvent, LeaseFailureReason, LeaseRef, NackAction, NackRef
from duebus_server.domain.retry import jitter
from duebus_server.engine.redis.codec.ids import pack_id, pack_ids, unpack_ids
from duebus_server.engine.redis.codec.packing import CorruptEventError, read_event

if TYPE_CHECKING:
    from collections.abc import Sequence

    from duebus_server.domain.model import Pause


_ACTIONS = {NackAction.RETRY: "retry", NackAction.DEAD_LETTER: "dead", NackAction.RELEASE: "release"}
FAILURES = {-1: LeaseFailureReason.EXPIRED, -2: LeaseFailureReason.SETTLED, -3: LeaseFailureReason.NO_KEY}
"""As in ``common.lua``."""

CORRUPT = "the stored event is missing or corrupt"
"""As in ``lease.lua``: why an unreadable event is dead."""

_FENCE_BYTES = 8
_FIRST = (1, "")
"""The first attempt, and no last error."""


def pack_fences(fencing_tokens: Sequence[int]) -> bytes:
    """Encodes fencing tokens for the scripts."""
    return struct.pack(f">{len(fencing_tokens)}Q", *fencing_tokens)


def unpack_fences(packed: bytes) -> tuple[int, ...]:
    """Decodes fencing tokens of the scripts.

    Raises:
        ValueError: they are malformed.
    """
    count, rest = divmod(len(packed), _FENCE_BYTES)
    if rest:
        raise ValueError("no fencing tokens")
    return struct.unpack(f">{count}Q", packed)


def read_time(answer: bytes | int) -> int | None:
    """A time in a script's answer, in microseconds; None if it is -1, which means never."""
    return None if int(answer) < 0 else int(answer)


def named(leases: Sequence[LeaseRef]) -> list[bytes]:
    """Leases as arguments of the scripts: their fencing tokens in one piece, packed id, ..."""
    return [pack_fences([fence for _, fence in leases]), *pack_ids([event_id for event_id, _ in leases])]


def nack_fields(nacks: Sequence[NackRef]) -> list[Any]:
    """Fencing tokens in one piece; packed id, action, delay, jitter, error, duration and scope of the pause, ..."""
    flat: list[Any] = [pack_fences([nack.lease.fencing_token for nack in nacks])]
    for nack in nacks:
        flat += (
            pack_id(nack.lease.event_id),
            _ACTIONS[nack.action],
            "" if nack.delay_us is None else nack.delay_us,
            jitter(),
            nack.error,
            *_pause(nack.pause),
        )
    return flat


def _pause(pause: Pause | None) -> tuple[int | str, str]:
    return ("", "") if pause is None else (pause.duration_us, pause.scope.value)


def leased_events(
    packed_ids: Sequence[bytes],
    blobs: Sequence[bytes],
    dues: Sequence[bytes],
    again: Sequence[Any],
    fences: range,
    expires_us: int,
    suspect: int,
) -> tuple[list[LeasedEvent], list[NackRef]]:
    """The events of a lease, in the order in which they are due.

    Args:
        packed_ids: their ids, as Redis holds them.
        blobs: their blobs.
        dues: their due times; one if it is the same for all.
        again: index among them, attempt, last error, ... of those that were leased before.
        fences: their fencing tokens.
        expires_us: when the leases run out.
        suspect: the place of the one that is a suspect; -1 if none is.

    Returns:
        The readable events, and the nacks of the damaged ones.
    """
    dues_us = [int(due) for due in dues]
    if len(dues_us) < len(packed_ids):
        dues_us *= len(packed_ids)
    attempts = {
        fences[index]: (attempt, error.decode()) for index, attempt, error in zip(*[iter(again)] * 3, strict=True)
    }
    events: list[LeasedEvent] = []
    damaged: list[NackRef] = []
    for event_id, packed_id, blob, due_us, fence in zip(
        unpack_ids(packed_ids), packed_ids, blobs, dues_us, fences, strict=True
    ):
        try:
            dispatched_us, body = read_event(packed_id, blob)
        except CorruptEventError:
            damaged.append(NackRef(LeaseRef(event_id, fence), NackAction.DEAD_LETTER, error=CORRUPT))
            continue
        attempt, last_error = attempts.get(fence, _FIRST)
        events.append(LeasedEvent(event_id, body, fence, attempt, due_us, dispatched_us, expires_us, last_error))
    for event in events if suspect >= 0 else ():
        event.is_suspect = event.fencing_token == fences[suspect]
    return events, damaged
