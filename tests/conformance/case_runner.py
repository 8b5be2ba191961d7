"""Runs the steps of one case."""

from __future__ import annotations

import base64
import itertools
import time
from typing import TYPE_CHECKING, Any

import grpc
from conformance.driver import SIGNAL_TIMEOUT_S, CallFailed, Driver
from conformance.servers import other_than
from conformance.steps import COMMANDS, EVENTS, WORKER_EVENTS, Step
from conformance.values import Mismatch, fill_in, match
from duebus.v1 import admin_pb2, test_clock_pb2
from google.protobuf import json_format
from support.builders import unique_name

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Future

    from conformance.link import Link
    from conformance.servers import Server
    from conformance.stub_server import StubServer

Fields = dict[str, Any]

DEFAULTS = {"client": "main", "subscription": "s", "worker": "w"}
MUST_BE_EXPECTED = ("handling", "cancelled", "delivery", "closing")
"""Events that must not be left at the end of a case: they would be a second delivery, a needless cancellation, or a
stream that was closed.
"""

_UNREACHABLE = "127.0.0.1:1"
"""An address where no server listens."""

_numbers = itertools.count(1)


class StepFailed(AssertionError):
    """A step of the case failed; the message says which, and how."""


class CaseRunner:
    """One run of a case, with its own names, clients, workers and subscriptions.

    Args:
        link: the proxy between the clients and the server; None if they are connected directly.
        stub: the stub server that the clients connect to; None if they connect to a real one.
        target: the address that the clients connect to.
        names: the predefined names, besides the topic and the engines.
    """

    def __init__(
        self,
        driver: Driver,
        server: Server,
        engine: str,
        *,
        link: Link | None,
        stub: StubServer | None,
        target: str,
        names: Fields,
    ) -> None:
        self._driver = driver
        self._server = server
        self._link = link
        self._stub = stub
        self._number = next(_numbers)
        self._topic = unique_name("case")
        self._names: Fields = {
            "topic": self._topic,
            "other_topic": unique_name("case"),
            "engine": engine,
            "other_engine": other_than(engine),
            "target": target,
            "server": server.address,
            "several": f"{_UNREACHABLE},{target}",
            "both": target if server.replica is None else f"{target},{server.replica.address}",
            **names,
        }
        self._answers: dict[str, Future[Fields]] = {}
        self._open: dict[str, set[str]] = {"client": set(), "subscription": set(), "worker": set()}
        self._others: dict[str, Callable[[Any], None]] = {
            "handlings": self._expect_handlings,
            "topic": self._wait_for_topic,
            "group": self._wait_for_group,
            "event": self._wait_for_event,
            "gone": self._wait_for_gone,
            "server": self._server_step,
            "advance": self._advance,
            "link": self._link_step,
            "stub": self._stub_step,
            "dispatches": self._expect_dispatches,
            "pass_ms": self._pass,
            "none": self._expect_none,
            "set": self._set,
        }

    def run(self, steps: tuple[Step, ...], *, connect: bool) -> None:
        """Run the steps, and close what they leave open.

        Raises:
            StepFailed: a step did not go as expected, or an event was left that no step expected.
        """
        if connect:
            self._command(Step("connect", {"target": "$target"}))
        for index, step in enumerate(steps, 1):
            try:
                self._run_step(step)
            except Exception as error:
                raise StepFailed(f"step {index}, {step}\n{type(error).__name__}: {error}") from error
        self._end()

    def _run_step(self, step: Step) -> None:
        if step.verb in COMMANDS:
            for _ in range(step.times):
                self._command(step)
        elif step.verb in EVENTS:
            self._expect_event(step.verb, step.argument)
        elif step.verb == "answer":
            self._check_answer(self._answers.pop(step.argument), step)
        else:
            self._others[step.verb](step.argument)

    # --- commands -----------------------------------------------------------------------------------------------------

    def _command(self, step: Step) -> None:
        fields = self._fields(step)
        answer = self._driver.send(step.verb, **fields)
        if step.later is not None:
            self._answers[step.later] = answer
            return
        self._check_answer(answer, step)
        if step.fails is None:
            self._note_open(step.verb, fields)
        if step.verb == "worker.start" and step.argument.get("ready", True):
            self._driver.next_event("ready", fields["worker"])

    def _fields(self, step: Step) -> Fields:
        fields: Fields = fill_in(step.argument, self._names)
        fields = {key: value for key, value in fields.items() if key != "ready"}
        for name in COMMANDS[step.verb]:
            if name in ("topic", "name"):
                fields.setdefault(name, self._topic)
            else:
                fields[name] = self._unique(fields.get(name, DEFAULTS[name]))
        if step.verb == "admin":
            fields["request"] = _admin_request(fields["method"], fields["request"])
        return fields

    def _unique(self, name: str) -> str:
        return f"{name}.{self._number}"

    def _note_open(self, verb: str, fields: Fields) -> None:
        """Record what has to be closed at the end of the case."""
        kinds = {"connect": "client", "subscribe": "subscription", "worker.start": "worker"}
        ends = {"close": "client", "unsubscribe": "subscription", "worker.stop": "worker"}
        if verb in kinds:
            self._open[kinds[verb]].add(fields[kinds[verb]])
        if verb in ends:
            self._open[ends[verb]].discard(fields[ends[verb]])

    def _check_answer(self, answer: Future[Fields], step: Step) -> None:
        try:
            result = answer.result(SIGNAL_TIMEOUT_S)
        except TimeoutError:
            raise TimeoutError(f"no answer within {SIGNAL_TIMEOUT_S:g} s") from None
        except CallFailed as failure:
            if step.fails is None:
                raise
            match(step.fails, failure.error, self._names, "error")
            return
        if step.fails is not None:
            raise Mismatch("answer", f"the error {step.fails}", result)
        if step.verb == "admin":
            result = _admin_response(step.argument["method"], result["response"])
        if step.gives is not None:
            match(step.gives, result, self._names, "result")

    # --- events -------------------------------------------------------------------------------------------------------

    def _expect_event(self, kind: str, expected: Fields) -> None:
        event = self._driver.next_event(kind, self._of(kind, expected))
        match(_without_names(expected), event, self._names, kind)

    def _expect_handlings(self, expected: Fields) -> None:
        """Expect one call of the handler for each of these events, in any order."""
        name = self._of("handling", expected)
        came = [self._driver.next_event("handling", name)["event_id"] for _ in expected["event_ids"]]
        match(sorted(expected["event_ids"]), sorted(came), self._names, "handlings")

    def _expect_none(self, expected: Fields) -> None:
        """Expect no event of this kind so far. An earlier step has to ensure that one would have arrived by now."""
        kind = expected["kind"]
        try:
            event = self._driver.next_event(kind, self._of(kind, expected), timeout_s=0)
        except TimeoutError:
            return
        raise Mismatch(kind, "none", event)

    def _of(self, kind: str, expected: Fields) -> str:
        whose = "worker" if kind in WORKER_EVENTS else "subscription"
        return self._unique(expected.get(whose, DEFAULTS[whose]))

    # --- the state of the server --------------------------------------------------------------------------------------

    def _wait_for_topic(self, expected: Fields) -> None:
        """Wait until the topic is as described."""
        _poll(lambda: match(expected, self._get("GetTopic", topic=self._topic)["topic"], self._names, "topic"))

    def _wait_for_group(self, expected: Fields) -> None:
        """Wait until the group is as described."""
        wanted = expected.get("group", "default")

        def check() -> None:
            topic = self._get("GetTopic", topic=self._topic)["topic"]
            found: Fields = next((each for each in topic["groups"] if each["group"] == wanted), {})
            match(expected, found, self._names, "group")

        _poll(check)

    def _wait_for_event(self, expected: Fields) -> None:
        """Wait until the event is as described in a group."""
        group, event_id = expected.get("group", "default"), fill_in(expected["id"], self._names)
        described = {key: each for key, each in expected.items() if key not in ("id", "group")}

        def check() -> None:
            event = self._get("GetEvent", topic=self._topic, event_id=event_id)["event"]
            found: Fields = next((each for each in event["groups"] if each["group"] == group), {})
            found["state"] = found.get("state", "").removeprefix("EVENT_STATE_").lower()
            match(described, found, self._names, "event")

        _poll(check)

    def _wait_for_gone(self, event_ids: list[str]) -> None:
        """Wait until no group has these events."""

        def check(event_id: str) -> None:
            try:
                event = self._get("GetEvent", topic=self._topic, event_id=event_id)
            except grpc.RpcError as error:
                if error.code() is grpc.StatusCode.NOT_FOUND:
                    return
                raise
            raise Mismatch("event", "gone", event)

        for each in event_ids:
            event_id = fill_in(each, self._names)
            _poll(lambda event_id=event_id: check(event_id))  # type: ignore[misc]

    def _get(self, method: str, **fields: Any) -> Fields:
        request = getattr(admin_pb2, f"{method}Request")(**fields)
        return _as_fields(getattr(self._server.admin, method)(request, timeout=SIGNAL_TIMEOUT_S, wait_for_ready=True))

    # --- the server and the link --------------------------------------------------------------------------------------

    def _server_step(self, what: str) -> None:
        match what:
            case "kill":
                self._server.kill()
            case "freeze":
                self._server.freeze()
            case "fail over":
                assert self._link is not None, "the case has no link"
                assert self._server.replica is not None, "the server has no replica"
                self._link.aim(self._server.replica.address)
                self._server.kill()
                self._server = self._server.replica
            case "start":
                self._server.start()
            case "ends":
                status = self._server.process.wait()
                if status:
                    raise Mismatch("the server's exit status", 0, status)
            case _:
                raise ValueError(f"servers can't {what}")

    def _advance(self, target: Fields) -> None:
        """Move the server's clock, to a moment or by a duration."""
        fields = fill_in(target, self._names)
        request = test_clock_pb2.AdvanceTimeRequest()
        if "to_ms" in fields:
            request.to.FromMilliseconds(fields["to_ms"])
        else:
            request.by.FromMilliseconds(fields["by_ms"])
        self._server.clock.AdvanceTime(request, timeout=SIGNAL_TIMEOUT_S)

    def _link_step(self, what: str) -> None:
        assert self._link is not None, "the case has no link"
        {
            "cut": self._link.cut,
            "stall": self._link.stall,
            "stall answers": self._link.stall_answers,
            "swallow": self._link.swallow,
            "flow": self._link.flow,
        }[what]()

    def _stub_step(self, what: str) -> None:
        assert self._stub is not None, "the case has no stub server"
        {"holds": self._stub.wait_until_held, "release": self._stub.release}[what]()

    def _expect_dispatches(self, expected: list[list[str]]) -> None:
        assert self._stub is not None, "the case has no stub server"
        match(sorted(expected), self._stub.dispatches(), self._names, "dispatches")

    def _pass(self, milliseconds: int) -> None:
        """Let time pass, from the moment at which the driver has read all commands."""
        self._driver.call("hello")
        time.sleep(milliseconds / 1000)

    def _set(self, values: Fields) -> None:
        self._names.update(fill_in(values, self._names))

    # --- the end ------------------------------------------------------------------------------------------------------

    def _end(self) -> None:
        used = self._open["worker"] | self._open["subscription"]
        for worker in self._open["worker"]:
            self._driver.call("worker.stop", worker=worker)
        for subscription in self._open["subscription"]:
            self._driver.call("unsubscribe", subscription=subscription)
        for client in self._open["client"]:
            self._driver.call("close", client=client)
        left = [event for name in used for event in self._driver.events_of(name)]
        unexpected = [event for event in left if event.get("event", "handling") in MUST_BE_EXPECTED]
        if unexpected:
            raise StepFailed(f"at the end of the case, no step has expected these events: {unexpected}")


def _without_names(expected: Fields) -> Fields:
    return {key: value for key, value in expected.items() if key not in ("worker", "subscription")}


def _poll(check: Callable[[], None]) -> None:
    """Poll until the check passes, because the server is another process and sends no signal."""
    deadline = time.monotonic() + SIGNAL_TIMEOUT_S
    while True:
        try:
            check()
        except (Mismatch, grpc.RpcError):
            if time.monotonic() > deadline:
                raise
            time.sleep(0.005)
        else:
            return


def _admin_request(method: str, fields: Fields) -> bytes:
    message = json_format.ParseDict(fields, getattr(admin_pb2, f"{method}Request")())
    serialized: bytes = message.SerializeToString()
    return serialized


def _admin_response(method: str, response: str | Fields) -> Fields:
    message = getattr(admin_pb2, f"{method}Response")()
    if isinstance(response, str):
        message.ParseFromString(base64.b64decode(response))
    else:
        json_format.ParseDict(response, message)
    return _as_fields(message)


def _as_fields(message: Any) -> Fields:
    return json_format.MessageToDict(
        message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )
