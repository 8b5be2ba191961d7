"""Events in Redis: packed, and unchanged when unpacked."""

from __future__ import annotations

import pytest
from duebus_server.domain.event_ids import EventIds
from duebus_server.domain.model import NewEvent
from duebus_server.engine.redis.codec.ids import pack_id
from duebus_server.engine.redis.codec.packing import CorruptEventError, StoredBlob, pack_events, read_event

NOW_US = 1_795_470_958_203_782
IN_FRONT = NOW_US.to_bytes(8) + bytes(4)
"""The bytes that the script puts before a blob."""

HEADER_SIZE = 17


def stored(events: list[NewEvent], origin: str) -> dict[bytes, bytes]:
    """The blobs by packed id, as the script puts time and place in front."""
    packed = iter(pack_events(events, [pack_id(event.id) for event in events], origin))
    return {packed_id: IN_FRONT + blob for packed_id, blob in zip(packed, packed, strict=True)}


MADE = [EventIds(NOW_US, "a request").at(index) for index in range(3)]


@pytest.mark.parametrize("origin", ["ipv4:127.0.0.1:50000", "unix:"])
def test_a_batch_of_events_is_stored_like_each_of_them(origin: str) -> None:
    events = [
        NewEvent("chosen", b"body"),
        NewEvent(MADE[0], b"body", id_is_generated=True),
        NewEvent(MADE[1], b"another body", id_is_generated=True, max_retries=3),
        NewEvent(MADE[2], b"", id_is_generated=True),
    ]
    blobs = stored(events, origin)

    assert list(blobs) == [pack_id(event.id) for event in events]
    for event in events:
        packed_id = pack_id(event.id)
        assert blobs[packed_id] == stored([event], origin)[packed_id]
        assert read_event(packed_id, blobs[packed_id]) == (NOW_US, event.body)
        assert StoredBlob(packed_id, blobs[packed_id]).body == event.body


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
def test_the_origin_is_packed_as_short_as_possible_and_unpacked_unchanged(
    origin: str, size: int, max_retries: int | None
) -> None:
    event = NewEvent("event", b"body", max_retries=max_retries)

    blob = stored([event], origin)[b"event"]

    found = StoredBlob(b"event", blob)
    assert (found.origin, found.max_retries) == (origin[:64], max_retries)
    assert found.body == event.body
    assert len(blob) == HEADER_SIZE + (0 if max_retries is None else 4) + size + len(b"body")


@pytest.mark.parametrize("origin", ["", "ipv4:127.0.0.1:50000"])
def test_truncated_bytes_or_those_of_another_event_are_corrupt(origin: str) -> None:
    blob = stored([NewEvent("event", b"", max_retries=1)], origin)[b"event"]
    for size in range(len(blob)):
        with pytest.raises(CorruptEventError):
            StoredBlob(b"event", blob[:size])
        with pytest.raises(CorruptEventError):
            read_event(b"event", blob[:size])
    with pytest.raises(CorruptEventError):
        StoredBlob(b"other", blob)
    with pytest.raises(CorruptEventError):
        read_event(b"other", blob)
