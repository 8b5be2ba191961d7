"""A server is down for five seconds under load, with each client as producer and worker."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

import pytest
from conformance.languages import BUILD_TIMEOUT_S, read_languages
from conformance.parity import KILLED_UNDER_LOAD, LOAD_ENGINES
from support.builders import unique_name
from support.wire import figure

if TYPE_CHECKING:
    from conformance.driver import Driver
    from conformance.drivers import Drivers
    from conformance.parity import Results
    from conformance.servers import Server, Servers

LANGUAGES = read_languages()

# The first test of a language builds its driver. The steps have deadlines of their own.
pytestmark = pytest.mark.timeout(BUILD_TIMEOUT_S + 120)

PRODUCERS = 4
EVENTS_A_CALL = 5
LOAD = 1000
"""The number of events before the outage, and again after it."""
AWAY_S = 5.0
TIMEOUT_S = 40
"""How long the SDK retries a dispatch during the outage."""


class Load:
    """Producers that dispatch as fast as they are answered, and a worker, all in the driver.

    Attributes:
        dispatched: the ids of the events whose dispatch was answered.
    """

    def __init__(self, driver: Driver, target: str) -> None:
        self._driver = driver
        self._name = unique_name("load")
        self.topic = self._name
        self.dispatched: set[str] = set()
        self._change = threading.Condition()
        self._failures: list[BaseException] = []
        self._ended = threading.Event()
        self._producers = [threading.Thread(target=self._produce, args=(number,)) for number in range(PRODUCERS)]
        driver.call("connect", client=self._name, target=target)
        worker = {"client": self._name, "worker": self._name, "topic": self.topic}
        driver.call("worker.start", **worker, script=[{"do": "ack"}], max_in_flight=50)
        driver.next_event("ready", self._name)

    def start(self) -> None:
        for each in self._producers:
            each.start()

    def until_dispatched(self, count: int) -> None:
        """Return when this many events have been dispatched, or a dispatch has failed."""
        with self._change:
            self._change.wait_for(lambda: len(self.dispatched) >= count or self._failures, TIMEOUT_S)

    def stop(self) -> None:
        """Stop once the running calls are answered. Raises the error of a failed dispatch."""
        self._ended.set()
        for each in self._producers:
            each.join()
        if self._failures:
            raise self._failures[0]

    def handled(self) -> set[str]:
        """The events that the worker has handled: all that were dispatched, or fewer if no more arrive in time."""
        came: set[str] = set()
        while not self.dispatched <= came:
            try:
                came.add(self._driver.next_event("handling", self._name)["event_id"])
            except TimeoutError:
                break
        return came

    def close(self) -> None:
        """Stop the worker."""
        self._driver.call("worker.stop", worker=self._name)
        self._driver.call("close", client=self._name)
        self._driver.events_of(self._name)

    def _produce(self, producer: int) -> None:
        call = 0
        try:
            while not self._ended.is_set():
                call += 1
                self._dispatch([f"{producer}-{call}-{number}" for number in range(EVENTS_A_CALL)])
        except BaseException as error:  # noqa: BLE001  # raised by `stop`, in the test's own thread
            with self._change:
                self._failures.append(error)
                self._change.notify_all()

    def _dispatch(self, event_ids: list[str]) -> None:
        events = [{"id": event_id, "data": b"under load"} for event_id in event_ids]
        command = {"client": self._name, "topic": self.topic, "events": events, "timeout_ms": TIMEOUT_S * 1000}
        result = self._driver.send("dispatch", **command).result(TIMEOUT_S + 5)
        assert result["event_ids"] == event_ids
        with self._change:
            self.dispatched.update(event_ids)
            self._change.notify_all()


@pytest.fixture
def server(all_servers: dict[str, Servers]) -> Server:
    """A server for this test, on Redis: the local engine loses its events with the process."""
    return all_servers["redis"].get("own")


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_server_that_is_killed_for_five_seconds_under_load_loses_nothing(
    language: str, drivers: Drivers, server: Server, results: Results
) -> None:
    driver = drivers.get(LANGUAGES[language])
    passed = False
    try:
        load = Load(driver, server.address)
        load.start()
        load.until_dispatched(LOAD)
        server.kill()
        before = len(load.dispatched)
        time.sleep(AWAY_S)
        server.start()
        load.until_dispatched(before + LOAD)
        load.stop()
        assert load.dispatched - load.handled() == set()
        figure(f"{language}: {before} events before the outage, {len(load.dispatched)} in all")
        assert LOAD <= before <= len(load.dispatched) - LOAD
        load.close()
        passed = True
    finally:
        server.close()
        if not passed:
            drivers.discard(driver)
        for engine in LOAD_ENGINES:
            results.note(language, KILLED_UNDER_LOAD, engine, passed=passed)
