"""The processes of one server: a stop reaches all of them."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

from duebus_server import processes
from duebus_server.processes import Processes

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

    import pytest


def serves_until_stopped(_number: int, ready: Connection) -> None:
    ready.send("ready")
    signal.pause()


def test_a_signal_while_a_process_is_being_started_stops_that_one_too(monkeypatch: pytest.MonkeyPatch) -> None:
    kind = processes._CONTEXT.Process  # after it was started, and before it is recorded
    start = kind.start

    def start_and_be_stopped(self: object) -> None:
        start(self)  # type: ignore[arg-type]
        os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(kind, "start", start_and_be_stopped)
    assert Processes(1, serves_until_stopped).run(lambda _line: None) == 0
