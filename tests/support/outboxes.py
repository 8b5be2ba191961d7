"""What every outbox must do, whichever library writes its rows."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from duebus import Client
    from duebus.integrations.outbox import Relay

TOPIC = "order.created"


def received(client: Client, count: int, topic: str = TOPIC) -> list[int]:
    """The next payloads of a topic, each acknowledged."""
    with client.subscribe(topic, group="billing") as billing:
        found = []
        for delivery in billing:
            found.append(delivery.json())
            client.ack(delivery)
            if len(found) == count:
                return found
    raise AssertionError("the stream ended")


def check_large_events(write: Callable[[Sequence[bytes]], None], relay: Relay, bus: Client) -> None:
    """Together they are larger than what MariaDB takes in one statement.

    Args:
        write: Dispatches an event with each payload, with one key, in one transaction.
        relay: Sends them.
        bus: Receives them.
    """
    large = [os.urandom(1 << 20) for _ in range(20)]
    write(large)
    claimed = []
    while count := relay.send():
        claimed.append(count)
    assert (sum(claimed), max(claimed)) == (20, 8)  # MiB in one claim
    with bus.subscribe(TOPIC, group="billing", max_in_flight=1) as billing:
        for data in large:
            event = next(iter(billing))
            assert event.data == data
            bus.ack(event)


def check_text(write: Callable[..., object], relay: Relay, only_row: Callable[[], Any]) -> None:
    """It is kept whatever the database's character set is, and topics differ by case.

    Args:
        write: Dispatches an event: its arguments are the topic, the payload and `id`.
        relay: Claims it.
        only_row: Reads the only row.
    """
    write("full", 1, id="\N{BELL}")
    store = relay._store
    store.prepare()
    with store.claim("", 10, 1 << 20, ["Full"], []) as claimed:
        assert (claimed.topic, len(claimed.rows)) == ("full", 1)
        claimed.set_error(claimed.rows[0].id, "\N{BELL}")
    row = only_row()
    assert (row.event_id, row.topic, row.error) == ("\N{BELL}", "full", "\N{BELL}")
