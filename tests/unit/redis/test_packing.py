"""How events look in Redis: small, and as they were when they come back."""

from __future__ import annotations

import pytest
from duebus_server.domain.event_ids import EventIds, id_field
from duebus_server.domain.model import NewEvent
from duebus_server.engine.redis.packing import CorruptEventError, StoredBlob, pack_event, pack_id, unpack_id

NOW_US = 1_795_470_958_203_782
IN_FRONT = bytes(12)
"""What the script puts before a blob."""

HEADER_SIZE = 17


@pytest.mark.parametrize(
    ("event_id", "size"),
    [
        ("01a209ac-dfcb-7000-8000-000000000000", 14),
        ("01a209ac-dfcb-7fff-800f-ffffffffffff", 14),
        ("1fffffff-ffff-7abc-8001-0123456789ab", 14),
        ("20000000-0000-7abc-8001-0123456789ab", 17),  # would begin as printable ids do
        ("00ffffff-ffff-7abc-8001-0123456789ab", 17),  # would begin as other UUIDs do
        ("01a209ac-dfcb-4abc-8001-0123456789ab", 17),
        ("01a209ac-dfcb-7abc-8011-0123456789ab", 17),
        ("01a209ac-dfcb-7abc-9001-0123456789ab", 17),
        ("01A209AC-dfcb-7abc-8001-0123456789ab", 36),
        ("fourteen chars", 14),
        ("é", 2),
    ],
)
def test_an_id_takes_as_little_as_it_can_and_comes_back(event_id: str, size: int) -> None:
    packed = pack_id(event_id)
    assert (unpack_id(packed), len(packed)) == (event_id, size)


@pytest.mark.parametrize("request_id", ["", "a request"])
def test_the_ids_that_the_bus_makes_take_14_bytes(request_id: str) -> None:
    made = EventIds(NOW_US, request_id)
    for place in (0, 1, 999, 4095):
        packed = pack_id(made.at(place))
        assert (unpack_id(packed), len(packed)) == (made.at(place), 14)


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
        StoredBlob(pack_id("other"), blob)
