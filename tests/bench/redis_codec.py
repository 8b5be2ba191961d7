"""Measures the optimizations of the redis engine's codec against plain twins.

``PYTHONPATH=tests .venv/bin/python -m bench.redis_codec`` prints CPU microseconds an event, or an argument of a
command: the best of many rounds, in which the two take turns. It fails if a twin is as fast. ``tests/unit/redis``
runs it too.
"""

from __future__ import annotations

import struct
import sys
import time
from dataclasses import dataclass
from socket import inet_aton
from typing import TYPE_CHECKING, Any
from zlib import crc32

from duebus_server.domain.event_ids import EventIds
from duebus_server.domain.model import NewEvent
from duebus_server.engine.redis.codec.ids import pack_id, pack_ids, unpack_id, unpack_ids
from duebus_server.engine.redis.codec.packing import StoredBlob, pack_events, read_event
from hiredis import pack_command
from redis.asyncio import Connection as PlainConnection

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

EVENTS = 200
ORIGIN = "ipv4:127.0.0.1:50000"
MIN_GAIN = 1.1
"""How much faster than its twin an optimization must be to be worth its lines."""


# --- the twins ------------------------------------------------------------------------------------------------------


def pack_event_plainly(event: NewEvent, packed_id: bytes, origin: str) -> tuple[bytes, bytes]:
    """One event as ``pack_events`` packs it, straight from the description in DATA_MODEL.md."""
    flags = 0 if event.id_is_generated else 1
    content = event.body
    scheme, _, address = origin.partition(":")
    host, _, port = address.rpartition(":")
    if scheme == "ipv4":
        flags |= 8
        content = inet_aton(host) + int(port).to_bytes(2) + content
    else:
        content = bytes((len(origin),)) + origin.encode() + content
    if event.max_retries is not None:
        flags |= 4
        content = event.max_retries.to_bytes(4) + content
    checksum = crc32(content, crc32(packed_id, flags))
    blob = bytes((flags,)) + checksum.to_bytes(4) + content
    return packed_id, blob


def read_event_plainly(packed_id: bytes, blob: bytes) -> tuple[int, bytes]:
    """As ``read_event``."""
    stored = StoredBlob(packed_id, blob)
    return stored.dispatched_us, stored.body


# --- the measurement ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Gain:
    """One operation done in two ways, in CPU microseconds."""

    what: str
    plain_us: float
    ours_us: float

    @property
    def factor(self) -> float:
        """How many times as fast ours is."""
        return self.plain_us / self.ours_us


def gains(rounds: int) -> list[Gain]:
    """All of them."""
    made = EventIds(1_767_225_600_000_000, "a request")
    texts = [made.at(index) for index in range(EVENTS)]
    packed = [pack_id(text) for text in texts]
    events = [NewEvent(text, bytes(200), id_is_generated=True) for text in texts]
    blobs = _stored(events, packed)
    pairs = list(zip(packed, blobs, strict=True))
    command: list[Any] = ["EVALSHA", "0" * 40, 1, "key", *packed]
    plain_connection = PlainConnection()
    ways: dict[str, tuple[Callable[[], object], Callable[[], object]]] = {
        "ids packed": (lambda: [pack_id(text) for text in texts], lambda: pack_ids(texts)),
        "ids unpacked": (lambda: [unpack_id(one) for one in packed], lambda: unpack_ids(packed)),
        "events packed": (
            lambda: [pack_event_plainly(*one, ORIGIN) for one in zip(events, packed, strict=True)],
            lambda: pack_events(events, packed, ORIGIN),
        ),
        "events read": (
            lambda: [read_event_plainly(*pair) for pair in pairs],
            lambda: [read_event(*pair) for pair in pairs],
        ),
        "arguments sent": (lambda: plain_connection.pack_command(*command), lambda: pack_command(tuple(command))),
    }
    return [Gain(what, *_measure(plain, ours, rounds)) for what, (plain, ours) in ways.items()]


def _stored(events: Sequence[NewEvent], packed: Sequence[bytes]) -> list[bytes]:
    """Blobs as Redis holds them: a time and a place before the packed bytes."""
    front = struct.pack(">QI", 1_767_225_600_000_000, 1)
    return [front + pack_event_plainly(*one, ORIGIN)[1] for one in zip(events, packed, strict=True)]


def _measure(plain: Callable[[], object], ours: Callable[[], object], rounds: int) -> tuple[float, float]:
    """Microseconds an event: the best of the rounds of each."""
    best = [float("inf"), float("inf")]
    for _ in range(rounds):
        for at, way in enumerate((plain, ours)):
            begun = time.process_time_ns()
            way()
            best[at] = min(best[at], (time.process_time_ns() - begun) / 1_000 / EVENTS)
    return best[0], best[1]


def main() -> Any:
    """Print the table. Returns 1 if an optimization does not pay."""
    found = gains(rounds=200)
    for gain in found:
        times = f"{gain.plain_us:6.3f} us plainly, {gain.ours_us:6.3f} us"
        sys.stdout.write(f"{gain.what:16} {times}: {gain.factor:.1f} times as fast\n")
    return int(any(gain.factor < MIN_GAIN for gain in found))


if __name__ == "__main__":
    sys.exit(main())
