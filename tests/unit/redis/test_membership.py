"""Sessions whose state changes between two answers of Redis."""

from __future__ import annotations

from typing import TYPE_CHECKING
from unittest.mock import AsyncMock, Mock

import pytest
from duebus_server.domain.errors import NotFound
from duebus_server.domain.model import SubscriberInfo
from duebus_server.engine.redis.partition import Partition
from duebus_server.engine.redis.replicas.membership import Membership
from duebus_server.engine.redis.replicas.notifications import Notifications
from duebus_server.engine.redis.replicas.sessions import Stage

if TYPE_CHECKING:
    from collections.abc import Callable

    from duebus_server.engine.redis.replicas.sessions import LocalSession

ORDERS = Partition("orders")


@pytest.mark.parametrize(
    ("stage", "end"),
    [
        (Stage.GONE, lambda notifications, session: notifications.sessions.forget(session)),
        (Stage.LEAVING, lambda _notifications, session: session.stream_over(0)),
    ],
)
async def test_a_session_that_ends_while_it_is_noted_does_not_join_redis(
    stage: Stage, end: Callable[[Notifications, LocalSession], None]
) -> None:
    runner = Mock(run=AsyncMock(return_value=(b"1", 0)), replica="replica")
    notifications = Notifications(runner)
    session = notifications.sessions.add(ORDERS, "workers", SubscriberInfo("session", "consumer", 0))
    notes = Mock(add=AsyncMock(side_effect=lambda _groups: end(notifications, session)))
    members = Membership(runner, notes, notifications, Mock(), Mock())
    with pytest.raises(NotFound):
        await members.rejoin(session)
    assert session.stage is stage
    runner.run.assert_not_awaited()
