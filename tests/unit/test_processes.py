"""The processes of one server: a stop reaches all of them."""

from __future__ import annotations

import os
import signal
from multiprocessing.connection import wait
from pathlib import Path
from typing import TYPE_CHECKING, Any

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


def test_a_switch_of_the_log_level_does_not_end_a_process_that_is_starting(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[object] = []
    kind = processes._CONTEXT.Process
    start = kind.start

    def record(self: object) -> None:
        start(self)  # type: ignore[arg-type]
        started.append(self)

    def switch_and_wait(*what: Any) -> list[Any]:
        monkeypatch.setattr(processes, "wait", wait)
        os.kill(os.getpid(), signal.SIGUSR1)
        return wait(*what)

    monkeypatch.syspath_prepend(Path(__file__).parents[2])  # for the process, which imports this module
    monkeypatch.setattr(kind, "start", record)
    monkeypatch.setattr(processes, "wait", switch_and_wait)
    server = Processes(1, serves_until_stopped)
    assert server.run(lambda _line: server.stop()) == 0
    assert len(started) == 1, "none was restarted"
