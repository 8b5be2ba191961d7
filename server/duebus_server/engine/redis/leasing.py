"""Leases as arguments of the scripts, and what the scripts hand out as leased events."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from duebus_server.domain.model import LeasedEvent, LeaseFailureReason, LeaseRef, NackAction, NackRef
from duebus_server.domain.retry import jitter
from duebus_server.engine.redis.packing import CorruptEventError, StoredBlob, pack_id, unpack_id

if TYPE_CHECKING:
    from collections.abc import Sequence


_ACTIONS = {NackAction.RETRY: "retry", NackAction.DEAD_LETTER: "dead", NackAction.RELEASE: "release"}
FAILURES = {-1: LeaseFailureReason.EXPIRED, -2: LeaseFailureReason.SETTLED}
"""As in ``common.lua``."""

CORRUPT = "the stored event is missing or corrupt"
"""As in ``lease.lua``: why an event that can't be read is dead."""

_FIELDS = 5
"""Of one leased event in the answer of ``lease.lua``."""


def pairs(leases: Sequence[LeaseRef]) -> list[Any]:
    """Packed id, fencing token, ..."""
    flat: list[Any] = []
    for lease in leases:
        flat += (pack_id(lease.event_id), lease.fencing_token)
    return flat


def nack_fields(nacks: Sequence[NackRef]) -> list[Any]:
    """Packed id, fencing token, action, delay, jitter, error, ..."""
    flat: list[Any] = []
    for nack in nacks:
        flat += (
            pack_id(nack.lease.event_id),
            nack.lease.fencing_token,
            _ACTIONS[nack.action],
            "" if nack.delay_us is None else nack.delay_us,
            jitter(),
            nack.error,
        )
    return flat


def leased_events(
    fields: Sequence[Any], first_fence: int, expires_us: int, stride: int = 1
) -> tuple[list[LeasedEvent], list[NackRef]]:
    """The events of a lease: packed id, blob, attempt, deliver at, last error, ...; fencing tokens go up by ``stride``.

    Returns:
        Those that can be handed out, and how to give the damaged ones back.
    """
    events: list[LeasedEvent] = []
    damaged: list[NackRef] = []
    for place, at in enumerate(range(0, len(fields), _FIELDS)):
        packed_id, blob, attempt, deliver_at, last_error = fields[at : at + _FIELDS]
        event_id = unpack_id(packed_id)
        try:
            stored = StoredBlob(packed_id, blob)
        except CorruptEventError:
            lease = LeaseRef(event_id, first_fence + place * stride)
            damaged.append(NackRef(lease, NackAction.DEAD_LETTER, error=CORRUPT))
            continue
        events.append(
            LeasedEvent(
                event_id,
                stored.body(event_id),
                first_fence + place * stride,
                attempt,
                int(deliver_at),
                stored.dispatched_us,
                expires_us,
                last_error.decode(),
            )
        )
    return events, damaged
