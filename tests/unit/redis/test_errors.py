"""Errors of Redis's client as errors of the domain."""

from __future__ import annotations

import pytest
from duebus_server.domain.clock import SECOND
from duebus_server.domain.errors import DispatcherNotWorking
from duebus_server.engine.redis.transport.errors import as_domain_errors, asking, is_lost
from redis.asyncio import Connection


async def test_a_connection_closed_by_another_call_is_a_lost_connection() -> None:
    """The cluster client closes all connections to a node when one fails, even those in use."""
    closed = Connection(port=1)

    with pytest.raises(DispatcherNotWorking, match="Redis can't be reached") as caught:
        async with asking("orders"):
            await closed._send_packed_command([b"PING"])

    assert is_lost(caught.value.__cause__)
    assert caught.value.metadata == {"engine": "redis", "topic": "orders"}
    assert caught.value.retry_after_us == SECOND


def test_a_bug_of_our_own_is_not_hidden() -> None:
    nothing = None
    with pytest.raises(AttributeError), as_domain_errors(""):
        nothing.evalsha()  # type: ignore[attr-defined]
