"""How events look in Redis: small, and as they were when they come back."""

from __future__ import annotations

import pytest
from duebus_server.domain.event_ids import EventIds, id_field
from duebus_server.domain.model import NewEvent
from duebus_server.engine.redis.ids import pack_id, pack_ids
from duebus_server.engine.redis.packing import CorruptEventError, StoredBlob, pack_event, pack_events, read_event

NOW_US = 1_795_470_958_203_782
IN_FRONT = bytes(12)
"""What the script puts before a blob."""

HEADER_SIZE = 17

MADE = [EventIds(NOW_US, "a request").at(place) for place in range(3)]


@pytest.mark.parametrize("origin", ["ipv4:127.0.0.1:50000", "unix:"])
def test_a_batch_of_events_is_stored_as_each_of_them(origin: str) -> None:
    events = [
        NewEvent("chosen", id_field("chosen") + b"body"),
        NewEvent(MADE[0], id_field(MADE[0]) + b"body", id_is_generated=True),
        NewEvent(MADE[1], b"another body", id_is_generated=True, max_retries=3),
        NewEvent(MADE[2], b"", id_is_generated=True),
    ]
    packed_ids = pack_ids([event.id for event in events])

    blobs = pack_events(events, packed_ids, origin)

    for event, packed_id, blob in zip(events, packed_ids, blobs, strict=True):
        assert blob == pack_event(event, packed_id, origin)
        whole = NOW_US.to_bytes(8) + bytes(4) + blob
        assert read_event(event.id, packed_id, whole) == (NOW_US, event.body)
        assert StoredBlob(packed_id, whole).body(event.id) == event.body


@pytest.mark.parametrize(
    ("origin", "size"),
    [
        ("", 1),
        ("ipv4:127.0.0.1:50000", 6),
        ("ipv4:255.255.255.255:65535", 6),
        ("ipv4:0.0.0.0:0", 6),
        ("ipv4:256.0.0.1:50000", 21),
        ("ipv4:127.0.0.01:50000", 22),
        ("ipv4:127.0.0.1:65536", 21),
        ("ipv4:127.0.0.1:0500", 20),
        ("ipv4:127.0.0.1", 15),
        ("ipv6:%5B::1%5D:50000", 21),
        ("unix:", 6),
        ("o" * 100, 65),
    ],
)
@pytest.mark.parametrize("max_retries", [None, 0, 7, 2**32 - 1])
def test_the_origin_takes_as_little_as_it_can_and_comes_back(origin: str, size: int, max_retries: int | None) -> None:
    event = NewEvent("event", id_field("event") + b"body", max_retries=max_retries)

    blob = IN_FRONT + pack_event(event, pack_id(event.id), origin)

    stored = StoredBlob(pack_id("event"), blob)
    assert (stored.origin, stored.max_retries) == (origin[:64], max_retries)
    assert stored.body("event") == event.body
    assert len(blob) == HEADER_SIZE + (0 if max_retries is None else 4) + size + len(b"body")


@pytest.mark.parametrize("origin", ["", "ipv4:127.0.0.1:50000"])
def test_what_is_cut_short_or_of_another_event_is_corrupt(origin: str) -> None:
    blob = IN_FRONT + pack_event(NewEvent("event", b"", max_retries=1), pack_id("event"), origin)
    for size in range(len(blob)):
        with pytest.raises(CorruptEventError):
            StoredBlob(pack_id("event"), blob[:size])
        with pytest.raises(CorruptEventError):
            read_event("event", pack_id("event"), blob[:size])
    with pytest.raises(CorruptEventError):
        StoredBlob(pack_id("other"), blob)
    with pytest.raises(CorruptEventError):
        read_event("other", pack_id("other"), blob)
