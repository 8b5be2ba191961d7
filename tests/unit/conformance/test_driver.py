"""A misbehaving driver fails its case, and does not block others."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest
from conformance.driver import CallFailed, Driver, DriverGone
from conformance.languages import Language

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

ECHO = """
import json, sys
for line in sys.stdin:
    command = json.loads(line)
    print(json.dumps({"id": command["id"], "result": {"echo": command}}), flush=True)
"""

REFUSE = """
import json, sys
for line in sys.stdin:
    print(json.dumps({"id": json.loads(line)["id"], "error": {"reason": "NO"}}), flush=True)
"""

TELL = """
import json, sys
frame = {"event": "deliveries", "subscription": "s", "deliveries": [{"event_id": "a"}, {"event_id": "b"}]}
call = {"event": "handling", "worker": "w", "at_ms": 5, "delivery": {"event_id": "c"}}
print(json.dumps(frame), json.dumps(call), sep="\\n", flush=True)
sys.stdin.read()
"""

CRASH = """
import sys
sys.stdin.readline()
sys.exit("out of cheese")
"""

DEAF = """
import sys, time
sys.stdin.readline()
time.sleep(60)
"""


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[[str], Driver]]:
    started: list[Driver] = []

    def start(program: str) -> Driver:
        driver = Driver(Language("x", "X", (), (), (sys.executable, "-c", program)), tmp_path / "log")
        started.append(driver)
        return driver

    yield start
    for driver in started:
        driver.kill()


def test_an_answer_finds_its_command_and_bytes_travel_as_base64(start: Callable[[str], Driver]) -> None:
    driver = start(ECHO)
    later = driver.send("dispatch", data=b"\xff")
    assert driver.call("ack", lease_tokens=["x"])["echo"]["lease_tokens"] == ["x"]
    assert later.result(10)["echo"] == {"id": 1, "command": "dispatch", "data": "/w=="}
    assert driver.works
    assert driver.close() == 0


def test_an_error_is_raised(start: Callable[[str], Driver]) -> None:
    with pytest.raises(CallFailed) as caught:
        start(REFUSE).call("hello")
    assert caught.value.error == {"reason": "NO"}


def test_deliveries_of_a_frame_are_separate_events_and_the_rest_can_be_read(start: Callable[[str], Driver]) -> None:
    driver = start(TELL)
    assert driver.next_event("delivery", "s") == {"event_id": "a"}
    assert driver.next_event("handling", "w") == {"event_id": "c", "at_ms": 5}
    assert driver.events_of("s") == [{"event_id": "b"}]
    with pytest.raises(TimeoutError, match="no 'delivery' of s"):
        driver.next_event("delivery", "s", timeout_s=0)


def test_a_crashed_driver_fails_waiting_commands_with_the_end_of_its_log(start: Callable[[str], Driver]) -> None:
    driver = start(CRASH)
    answer = driver.send("hello")
    with pytest.raises(DriverGone, match="out of cheese"):
        driver.next_event("ready", "w")
    with pytest.raises(DriverGone, match="out of cheese"):
        answer.result(10)
    assert not driver.works


def test_a_driver_that_does_not_answer_is_not_alive(
    start: Callable[[str], Driver], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("conformance.driver.PING_TIMEOUT_S", 0.1)
    assert not start(DEAF).works
