"""A running driver: a process that speaks the protocol of PROTOCOL.md."""

from __future__ import annotations

import base64
import itertools
import json
import subprocess
import threading
from collections import defaultdict, deque
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

    from conformance.languages import Language

from conformance.languages import ROOT

SIGNAL_TIMEOUT_S = 30.0
"""How long to wait for an answer or an event."""

EXIT_TIMEOUT_S = 60.0
PING_TIMEOUT_S = 30.0

Fields = dict[str, Any]


class CallFailed(Exception):
    """A command was answered with an error, which is in ``error``."""

    def __init__(self, command: str, error: Fields) -> None:
        super().__init__(f"{command} failed: {error}")
        self.error = error


class DriverGone(Exception):
    """The driver's process has ended."""


class Driver:
    """A running driver. Thread-safe.

    Attributes:
        log: the file that its standard error goes to.
    """

    def __init__(self, language: Language, log: Path) -> None:
        self.log = log
        self._numbers = itertools.count(1)
        self._answers: dict[int, Future[Fields]] = {}
        self._events: dict[tuple[str, str], deque[Fields]] = defaultdict(deque)
        self._change = threading.Condition()
        self._gone = False
        with log.open("ab") as stderr:
            self._process = subprocess.Popen(
                language.driver,
                cwd=ROOT,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
                process_group=0,
            )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    # --- commands -----------------------------------------------------------------------------------------------------

    def send(self, command: str, **fields: Any) -> Future[Fields]:
        """Send a command. Returns its future answer."""
        number, answer = next(self._numbers), Future[Fields]()
        line = json.dumps({"id": number, "command": command, **fields}, default=_encode_bytes)
        with self._change:
            if self._gone:
                raise DriverGone(self.log_tail())
            self._answers[number] = answer
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(line.encode() + b"\n")
            self._process.stdin.flush()
        except BrokenPipeError as error:
            raise DriverGone(self.log_tail()) from error
        return answer

    def call(self, command: str, **fields: Any) -> Fields:
        """Send a command and wait for its result.

        Raises:
            CallFailed: it was answered with an error.
            TimeoutError: it was not answered.
            DriverGone: the process has ended.
        """
        return self.send(command, **fields).result(SIGNAL_TIMEOUT_S)

    # --- events -------------------------------------------------------------------------------------------------------

    def next_event(self, kind: str, name: str, timeout_s: float = SIGNAL_TIMEOUT_S) -> Fields:
        """The next event of a kind, of a worker or subscription.

        Raises:
            TimeoutError: it did not come.
            DriverGone: the process has ended.
        """
        with self._change:
            events = self._events[kind, name]
            self._change.wait_for(lambda: events or self._gone, timeout_s)
            if events:
                return events.popleft()
        if self._gone:
            raise DriverGone(self.log_tail())
        came = {f"{each} of {of}": len(left) for (each, of), left in self._events.items() if left}
        raise TimeoutError(f"no {kind!r} of {name} within {timeout_s:g} s; not yet taken: {came}")

    def events_of(self, name: str) -> list[Fields]:
        """Take the remaining events of a worker or subscription."""
        with self._change:
            keys = [key for key in self._events if key[1] == name]
            return [event for key in keys for event in self._events.pop(key)]

    # --- the process --------------------------------------------------------------------------------------------------

    def close(self) -> int:
        """Close its input and wait for its end. Returns its exit status."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            return self._process.wait(EXIT_TIMEOUT_S)
        finally:
            self.kill()

    def kill(self) -> None:
        """Make sure that it has ended."""
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        self._reader.join()

    @property
    def works(self) -> bool:
        """Whether it still answers."""
        try:
            self.send("hello").result(PING_TIMEOUT_S)
        except (DriverGone, TimeoutError):
            return False
        return True

    @property
    def page(self) -> int:
        """The size of its log, in bytes."""
        return self.log.stat().st_size

    def log_tail(self, since: int = 0, most: int = 60) -> str:
        lines = self.log.read_bytes()[since:].decode(errors="replace").splitlines()[-most:]
        return "\n".join(["the end of the driver's log:", *lines])

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._take(json.loads(line))
        with self._change:
            self._gone = True
            self._change.notify_all()
            unanswered, self._answers = list(self._answers.values()), {}
        for answer in unanswered:
            answer.set_exception(DriverGone(self.log_tail()))

    def _take(self, line: Fields) -> None:
        if "event" in line:
            with self._change:
                for kind, event in _split(line):
                    name = line.get("worker") or line["subscription"]
                    self._events[kind, name].append(event)
                self._change.notify_all()
            return
        answer = self._answers.pop(line["id"])
        if "error" in line:
            answer.set_exception(CallFailed(f"command {line['id']}", line["error"]))
        else:
            answer.set_result(line["result"])


def _split(line: Fields) -> list[tuple[str, Fields]]:
    """An event by its kind; a frame of deliveries becomes one event for each."""
    if line["event"] == "deliveries":
        return [("delivery", each) for each in line["deliveries"]]
    if line["event"] == "handling":
        return [("handling", line["delivery"] | {name: line[name] for name in ("at_ms", "payload") if name in line})]
    return [(line["event"], line)]


def _encode_bytes(value: object) -> str:
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    raise TypeError(f"{value!r} has no place in JSON")
