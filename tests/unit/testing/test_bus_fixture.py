"""The pytest plugin for users' own tests."""

from __future__ import annotations

import logging
import socket
import time
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
import structlog
from duebus.errors import NoDispatcherSpecified
from duebus.testing import Bus
from duebus.worker import Worker

if TYPE_CHECKING:
    from collections.abc import Iterator

    from duebus import Delivery

HALF_AN_HOUR = timedelta(minutes=30)


def test_a_delayed_event_is_delivered_when_the_clock_is_moved(duebus: Bus) -> None:
    worker, handled = collecting_worker(duebus)
    with duebus.running(worker):
        duebus.client.dispatch("order.check", {"id": 42}, delay=HALF_AN_HOUR)

        duebus.advance(minutes=29, seconds=59)
        duebus.settle()
        assert handled == []

        duebus.advance(seconds=1)
        duebus.settle()
        assert handled == [42]


def test_a_schedule_fires_at_each_of_its_times_while_the_clock_is_moved(duebus: Bus) -> None:
    worker = Worker(duebus.address)
    handled: list[str] = []

    @worker.every("0 9 * * *", zone="Europe/Berlin", priority=60)
    def report(delivery: Delivery) -> None:
        handled.append(delivery.attributes["duebus-scheduled-for"])

    with duebus.running(worker):
        begin = duebus.now()
        duebus.advance(days=3)

    expected = duebus.client.schedules.preview(cron="0 9 * * *", zone="Europe/Berlin", after=begin, count=3).times
    assert handled == [f"{each:%Y-%m-%dT%H:%M:%SZ}" for each in expected]
    stored = duebus.client.schedules.get(f"{__name__}.report")
    assert (stored.missed, stored.schedule.priority) == (0, 60)


def test_two_workers_with_ephemeral_groups_both_get_the_event(duebus: Bus) -> None:
    handled: list[str] = []

    def listener(name: str) -> Worker:
        worker = Worker(duebus.address)
        worker.add("price.changed", lambda _: handled.append(name), ephemeral=True)
        return worker

    with duebus.running(listener("one")), duebus.running(listener("other")):
        duebus.client.dispatch("price.changed", {"item": 7})
        duebus.settle()

    assert sorted(handled) == ["one", "other"]
    while len(groups := duebus.client.admin.get_topic("price.changed").groups) > 1:  # the server sees the streams end
        duebus.advance(seconds=1)
    (waiting,) = groups
    assert (waiting.group, waiting.ready) == ("", 1)


def test_moving_the_clock_by_half_an_hour_takes_no_time(duebus: Bus) -> None:
    began = time.monotonic()
    worker, handled = collecting_worker(duebus)
    with duebus.running(worker):
        duebus.client.dispatch("order.check", {"id": 1}, delay=HALF_AN_HOUR)
        duebus.advance(minutes=30)
        duebus.settle()
    assert handled == [1]
    assert time.monotonic() - began < HALF_AN_HOUR.total_seconds() / 100


def test_a_failing_handler_is_retried_as_the_clock_moves_until_the_event_is_dead(duebus: Bus) -> None:
    worker = Worker(duebus.address)
    attempts: list[int] = []

    @worker.on("order.check")
    def fail(delivery: Delivery) -> None:
        attempts.append(delivery.attempt)
        raise RuntimeError("no stock")

    with duebus.running(worker):
        event_id = duebus.client.dispatch("order.check", {"id": 1}).event_id
        for _ in range(4):
            duebus.settle()
            duebus.advance(minutes=6)
        duebus.settle()

    assert attempts == [1, 2, 3, 4]
    (group,) = duebus.client.admin.get_event("order.check", event_id).groups
    assert group.state == "dead"
    assert "no stock" in group.last_error


def test_settle_reports_what_is_not_settled(duebus: Bus) -> None:
    with duebus.client.subscribe("order.check") as subscription:
        subscription.started()
        duebus.client.dispatch("order.check", {"id": 1})
        with pytest.raises(TimeoutError, match=r"order\.check/default"):
            duebus.settle(timeout=0.05)


def test_the_clock_has_the_time_it_was_moved_to(duebus: Bus) -> None:
    before = duebus.now()
    duebus.advance(days=2, hours=1)
    assert duebus.now() - before == timedelta(days=2, hours=1)


@pytest.fixture
def default_logs() -> Iterator[None]:
    """structlog as a test finds it that has not configured it."""
    was_configured, before = structlog.is_configured(), structlog.get_config()
    structlog.reset_defaults()
    yield
    structlog.reset_defaults()
    if was_configured:
        structlog.configure(**before)


@pytest.mark.usefixtures("default_logs")
def test_the_server_logs_to_logging_and_prints_nothing(
    capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    """Its lines were in what the test captured of its own program."""
    caplog.set_level(logging.INFO, "duebus_server")
    with Bus() as bus:
        bus.client.dispatch("order.check", {"id": 1})
    assert capsys.readouterr() == ("", "")
    stopped = [each for each in caplog.records if each.getMessage().startswith("stopped")]
    assert [(each.name.partition(".")[0], each.levelname) for each in stopped] == [("duebus_server", "INFO")]
    assert "engine=local" in stopped[0].getMessage()


@pytest.mark.usefixtures("default_logs")
def test_the_server_logs_as_the_tests_have_configured_structlog() -> None:
    lines: list[str] = []

    def note(_logger: object, _method: str, event: structlog.typing.EventDict) -> str:
        lines.append(event["event"])
        raise structlog.DropEvent

    structlog.configure(processors=[note])
    with Bus():
        pass
    assert "stopped" in lines


def test_an_error_that_ends_the_worker_is_raised_in_the_test(duebus: Bus) -> None:
    worker = Worker(duebus.address, engine="redis")
    worker.add("order.check", print)
    with pytest.raises(NoDispatcherSpecified, match="redis"), duebus.running(worker):
        pass


def test_a_worker_that_connects_elsewhere_fails_the_test(duebus: Bus) -> None:
    with socket.socket() as nobody_listens:
        nobody_listens.bind(("127.0.0.1", 0))
        worker = Worker(f"127.0.0.1:{nobody_listens.getsockname()[1]}")
        worker.add("order.check", print)
        with pytest.raises(TimeoutError, match=duebus.address), duebus.running(worker, timeout=0.1):
            pytest.fail("the block is entered")


def test_the_environment_of_the_tests_is_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DUEBUS_MAX_RETRIES", "0")
    monkeypatch.setenv("DUEBUS_LEASE", "not a duration")
    with Bus() as bus:
        bus.client.dispatch("order.check", {"id": 1})
        assert bus.client.admin.get_topic("order.check").config.retry_policy.max_retries == 3


def test_each_bus_starts_empty(duebus: Bus) -> None:
    assert list(duebus.client.admin.list_topics()) == []


def collecting_worker(duebus: Bus) -> tuple[Worker, list[int]]:
    """A worker for `order.check`, and the ids it has handled."""
    worker = Worker(duebus.address)
    handled: list[int] = []
    worker.add("order.check", lambda delivery: handled.append(delivery.json()["id"]))
    return worker, handled


VERDICTS = [AssertionError("42 is no answer"), pytest.fail.Exception("no"), pytest.skip.Exception("not today")]


@pytest.mark.parametrize("verdict", VERDICTS, ids=lambda each: type(each).__name__)
def test_an_assert_that_fails_in_a_handler_fails_the_waiting_test(duebus: Bus, verdict: BaseException) -> None:
    worker = worker_that_raises(duebus, verdict)
    with duebus.running(worker):
        duebus.client.dispatch("order.check", {"id": 1})
        with pytest.raises(type(verdict)) as raised:
            duebus.settle()
    assert raised.value is verdict


def test_an_assert_that_nothing_waits_for_fails_the_test_in_the_end(duebus: Bus) -> None:
    worker = worker_that_raises(duebus, AssertionError("42 is no answer"))
    duebus.client.dispatch("order.check", {"id": 1})
    with pytest.raises(AssertionError, match="42 is no answer"), duebus.running(worker):
        until_retried(duebus)


def until_retried(duebus: Bus) -> None:
    while not duebus.client.admin.get_topic("order.check").groups[0].scheduled:
        pass


def worker_that_raises(duebus: Bus, error: BaseException) -> Worker:
    worker = Worker(duebus.address)

    @worker.on("order.check")
    async def check(_: Delivery) -> None:
        raise error

    return worker
