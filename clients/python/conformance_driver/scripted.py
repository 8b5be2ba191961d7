"""A worker whose handler follows a script."""

import asyncio
import time
from dataclasses import asdict, dataclass
from typing import Any

from duebus import DeadLetter, Delivery, DueBusError, RateLimited, Release, RetryAfter, Worker
from duebus.aio import Client

from conformance_driver.codec import read_delivery, read_error, span_of
from conformance_driver.lines import Lines

__all__ = ["ScriptedWorker"]

Outcome = dict[str, Any]


@dataclass
class Order:
    """The payload of a typed handler."""

    number: int
    item: str


class ScriptedWorker:
    """One worker with one handler, from its start until it has stopped."""

    def __init__(self, name: str, client: Client, lines: Lines, command: dict[str, Any]) -> None:
        self._name = name
        self._lines = lines
        self._script: list[Outcome] = command["script"]
        self._holding: dict[str, asyncio.Future[Outcome]] = {}
        self._worker = _worker(client, command)
        self._worker.add(command["topic"], self._handle_payload if command.get("typed") else self._handle)
        self._run = asyncio.create_task(self._serve())
        self._readiness = asyncio.create_task(self._await_ready())

    async def stop(self) -> None:
        """Drains, and returns when it has stopped."""
        self._worker.request_stop()
        await self._run

    async def abort(self) -> None:
        """Stops at once."""
        self._worker.request_stop(now=True)
        await self._run

    def finish(self, event_id: str, outcome: Outcome) -> None:
        """Ends the handler that holds the event.

        Raises:
            LookupError: no handler holds it.
        """
        self._holding.pop(event_id).set_result(outcome)

    async def _serve(self) -> None:
        error = None
        try:
            await self._worker.serve()
        except DueBusError as raised:
            error = read_error(raised)
        self._lines.report("stopped", worker=self._name, error=error)

    async def _await_ready(self) -> None:
        try:
            await self._worker.ready()
        except (DueBusError, RuntimeError):  # it has stopped, and the error is reported there
            return
        self._lines.report("ready", worker=self._name)

    async def _handle_payload(self, order: Order, delivery: Delivery) -> None:
        await self._follow(delivery, payload=asdict(order))

    async def _handle(self, delivery: Delivery) -> None:
        await self._follow(delivery)

    async def _follow(self, delivery: Delivery, **fields: object) -> None:
        """Reports the delivery, and ends as the script says."""
        at_ms = time.time_ns() // 1_000_000
        self._lines.report("handling", worker=self._name, at_ms=at_ms, delivery=read_delivery(delivery), **fields)
        outcome = self._script[min(delivery.attempt, len(self._script)) - 1]
        _end(await self._hold(delivery) if outcome["do"] == "hold" else outcome)

    async def _hold(self, delivery: Delivery) -> Outcome:
        held: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        self._holding[delivery.event_id] = held
        try:
            return await held
        except asyncio.CancelledError:
            self._holding.pop(delivery.event_id, None)
            self._lines.report("cancelled", worker=self._name, event_id=delivery.event_id, attempt=delivery.attempt)
            raise


def _worker(client: Client, command: dict[str, Any]) -> Worker:
    wanted = {
        "group": command.get("group"),
        "ephemeral": command.get("ephemeral"),
        "engine": command.get("engine"),
        "consumer": command.get("consumer"),
        "concurrency": command.get("max_in_flight"),
        "lease": span_of(command.get("lease_ms")),
        "max_execution": span_of(command.get("max_execution_ms")),
        "drain_timeout": span_of(command.get("drain_timeout_ms")),
    }
    given: dict[str, Any] = {name: value for name, value in wanted.items() if value is not None}
    if (concurrency := command.get("concurrency")) is not None:
        given |= {"concurrency": concurrency, "prefetch": command["max_in_flight"] - concurrency}
    return Worker(client=client, **{"prefetch": 0, **given})


class _UnprintableError(Exception):
    def __str__(self) -> str:
        raise SystemExit


def _end(outcome: Outcome) -> None:
    message = outcome.get("message") or ""
    match outcome["do"]:
        case "ack":
            return
        case "fail":
            raise RuntimeError(message)
        case "retry_after":
            raise RetryAfter(outcome["delay_ms"] / 1000, message)
        case "rate_limited":
            raise RateLimited(outcome["delay_ms"] / 1000, outcome["scope"], message)
        case "dead_letter":
            raise DeadLetter(message)
        case "release":
            raise Release
        case "panic":
            raise SystemExit(message)
        case "exit":
            raise GeneratorExit
        case "unprintable":
            raise _UnprintableError
        case other:
            raise ValueError(f"the script has an unknown outcome: {other}")
