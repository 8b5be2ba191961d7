"""Compares deliveries joined from encoded parts with deliveries encoded by protobuf. Run it; it is not a test:

    PYTHONPATH=tests .venv/bin/python -m bench.delivery_encoding

Prints CPU microseconds an event: the best of several rounds, in which the two take turns.
`tests/unit/wire/test_encode.py` checks that both write the same bytes.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from duebus.v1 import event_bus_pb2
from duebus_server.domain.clock import SECOND
from duebus_server.domain.lease_token import LeaseTokens
from duebus_server.domain.model import EngineName, LeasedEvent
from duebus_server.wire.deliveries import DeliveryEncoder
from duebus_server.wire.times import seconds_and_nanos
from rich.console import Console

if TYPE_CHECKING:
    from collections.abc import Callable

NOW_US = 1_795_470_958_203_782
ROUNDS = 200
TOKENS = LeaseTokens({EngineName.LOCAL: b"key"}).of_group(EngineName.LOCAL, "bench", "default")


def leased(count: int) -> list[LeasedEvent]:
    """Events that were dispatched together and are leased together."""
    body = event_bus_pb2.Event(data=bytes(200)).SerializeToString()
    return [
        LeasedEvent(f"event-{index:030}", body, NOW_US + index, 1, NOW_US, NOW_US, NOW_US + 30 * SECOND, "")
        for index in range(count)
    ]


def by_protobuf(events: list[LeasedEvent]) -> bytes:
    """The frame, built as a message from messages."""
    response = event_bus_pb2.SubscribeResponse()
    for leased_event in events:
        event = event_bus_pb2.Event.FromString(leased_event.body)
        event.id = leased_event.event_id
        response.deliveries.deliveries.append(
            event_bus_pb2.Delivery(
                event=event,
                topic=TOKENS.topic,
                group=TOKENS.group,
                lease_token=TOKENS.mint([leased_event.event_id], [leased_event.fencing_token])[0],
                fencing_token=leased_event.fencing_token,
                attempt=leased_event.attempt,
                deliver_at=seconds_and_nanos(leased_event.deliver_at_us),
                dispatched_at=seconds_and_nanos(leased_event.dispatched_us),
                lease_expires_at=seconds_and_nanos(leased_event.lease_expires_us),
                last_error=leased_event.last_error,
            )
        )
    return response.SerializeToString()


def joined(events: list[LeasedEvent]) -> bytes:
    """The frame as the server writes it."""
    (frame,) = DeliveryEncoder(TOKENS).responses(events)
    return frame


def microseconds(encode: Callable[[list[LeasedEvent]], bytes], events: list[LeasedEvent]) -> float:
    """CPU microseconds an event."""
    begun_ns = time.process_time_ns()
    encode(events)
    return (time.process_time_ns() - begun_ns) / 1_000 / len(events)


def main() -> None:
    """Measure and print."""
    console = Console()
    for count in (1, 10, 500):
        events = leased(count)
        assert event_bus_pb2.SubscribeResponse.FromString(joined(events)) == event_bus_pb2.SubscribeResponse.FromString(
            by_protobuf(events)
        )
        rounds = [(microseconds(joined, events), microseconds(by_protobuf, events)) for _ in range(ROUNDS)]
        ours, theirs = (min(taken) for taken in zip(*rounds, strict=True))
        console.print(
            f"{count:4} events: joined {ours:5.2f} us, by protobuf {theirs:5.2f} us, ratio {ours / theirs:.2f}"
        )


if __name__ == "__main__":
    main()
