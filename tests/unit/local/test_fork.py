"""The local engine belongs to the process that started it."""

from __future__ import annotations

import os

import pytest
from duebus_server.domain.clock import ManualClock
from duebus_server.domain.errors import DispatcherNotWorking
from duebus_server.domain.model import DispatchRequest, NewEvent
from duebus_server.domain.views import TopicConfig
from duebus_server.engine.local import LocalEngine


async def test_a_fork_of_the_process_that_started_it_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = LocalEngine(ManualClock(0), TopicConfig())
    await engine.start()
    await engine.dispatch("order.created", [DispatchRequest([NewEvent("e-1", b"body")])])
    parent = os.getpid()

    monkeypatch.setattr(os, "getpid", lambda: parent + 1)

    with pytest.raises(DispatcherNotWorking):
        await engine.dispatch("order.created", [DispatchRequest([NewEvent("e-2", b"body")])])
    monkeypatch.undo()
    assert await engine.queued() == 1


def test_every_engine_has_its_own_key() -> None:
    """So an engine refuses lease tokens of an earlier process."""
    keys = {LocalEngine(ManualClock(0), TopicConfig()).lease_token_key for _ in range(3)}

    assert len(keys) == 3
    assert all(len(key) >= 16 for key in keys)
