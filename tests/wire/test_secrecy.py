"""Logs never contain payloads or lease tokens."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from duebus.v1 import admin_pb2, event_bus_pb2
from support.wire import connect, duration, event, failure_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from support.server_process import ServerProcess
    from support.wire import Wire

MARKER = "payload-nobody-may-see-4711"
EVENT_ID = "order-4711"


async def live(wire: Wire, topic: str) -> list[str]:
    """Runs events through every outcome, with the marker wherever a client may put content. Returns the lease tokens.

    The event's id has no marker, because log lines are found by it.
    """
    marked = event(EVENT_ID, MARKER.encode(), attributes={MARKER: MARKER}, content_type=MARKER)
    stream = await wire.subscribe(topic, held_lease_tokens=[MARKER])
    await wire.dispatch(topic, marked, request_id=MARKER)
    await wire.dispatch(topic, marked)
    first = await stream.one()
    await wire.nack(first, error=MARKER, delay=duration(0))
    second = await stream.one()
    await wire.extend(second, lease=duration(30))
    await wire.nack(second, MARKER, error=MARKER, dead_letter=True)
    await wire.find_event(topic, EVENT_ID)
    await failure_of(wire.dispatch(topic, event(MARKER, MARKER.encode() * 50_000)))
    await failure_of(wire.dispatch(MARKER + "/", marked))
    await wire.dispatch(topic, event("with a key", key=MARKER, delay=3600))
    await failure_of(wire.dispatch(topic, event(MARKER, key=MARKER + "\n")))
    await failure_of(wire.raw("EventBus/Dispatch")(b"\xff" + MARKER.encode()))
    await failure_of(wire.raw("EventBus/Dispatch")(b"\x62\x1b" + MARKER.encode()))
    await failure_of(wire.admin.ListTopics(admin_pb2.ListTopicsRequest(page_token=MARKER)))
    await failure_of(wire.open(event_bus_pb2.SubscribeRequest(topic=topic, group=MARKER + "/")).next_frame())
    await wire.dispatch(topic, event("left over", MARKER.encode()))
    return [first.lease_token, second.lease_token, (await stream.one()).lease_token]


@pytest.mark.parametrize("log_format", ["console", "json"])
async def test_no_payload_and_no_token_is_in_the_log(
    start_server: Callable[..., ServerProcess], topic: str, log_format: str
) -> None:
    server = start_server("--log-format", log_format, "--drain-timeout", "0s")
    async with connect(server.address) as wire:
        tokens = await live(wire, topic)
        assert server.terminate() == 0
    log = server.log.read_text()
    assert MARKER not in log
    assert not [token for token in tokens if token in log]
    for word in ("subscribed", topic, EVENT_ID, "draining", "stopped"):
        assert word in log, "the outcomes are logged"
