"""Looking into engines: while they serve and while they drain, not after."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from duebus_server.bus.administering import Administering
from duebus_server.bus.engines import EngineStatus
from duebus_server.domain.errors import DispatcherNotWorking, NoDispatcherSpecified, NotFound
from duebus_server.domain.states import EventState
from duebus_server.domain.views import EventQuery
from unit.bus.conftest import LOCAL, REDIS, TOPIC

if TYPE_CHECKING:
    from unit.bus.conftest import Bus

QUERY = EventQuery("", EventState.READY, 10, 1 << 20)


async def test_each_engine_shows_its_own(bus: Bus) -> None:
    await bus.dispatch("a", "b")
    await bus.dispatch("c", engines=[REDIS])
    admin = Administering(bus.engines)
    assert [each.topic for each in await admin.list_topics(None, "", 10)] == [TOPIC]
    assert [(await admin.get_topic(engine, TOPIC)).queued for engine in (None, LOCAL, REDIS)] == [2, 2, 1]
    assert [each.event_id for each in (await admin.list_events(REDIS, TOPIC, QUERY)).events] == ["c"]
    with pytest.raises(NotFound):
        await admin.get_event(REDIS, TOPIC, "a")


async def test_an_engine_that_drains_can_be_looked_into_and_one_that_is_stopped_can_not(bus: Bus) -> None:
    await bus.dispatch("a")
    admin = Administering(bus.engines)
    bus.running[0].status = EngineStatus.DRAINING
    assert (await admin.get_event(None, TOPIC, "a")).event_id == "a"
    bus.running[0].status = EngineStatus.STOPPED
    for look in (
        admin.list_topics(None, "", 10),
        admin.get_topic(None, TOPIC),
        admin.list_events(None, TOPIC, QUERY),
        admin.get_event(None, TOPIC, "a"),
    ):
        with pytest.raises(DispatcherNotWorking):
            await look


async def test_an_engine_that_does_not_run_here_can_not_be_looked_into(bus: Bus) -> None:
    del bus.engines._running[REDIS]
    with pytest.raises(NoDispatcherSpecified):
        await Administering(bus.engines).list_topics(REDIS, "", 10)
