"""The tree of errors matches its drawing and the contract's table."""

from __future__ import annotations

import re

import pytest
from duebus_server.domain import errors
from duebus_server.domain.errors import (
    DispatcherNotWorking,
    DueBusError,
    FieldViolation,
    InvalidArgument,
    MaxQueuedEventsReached,
    NoEventSpecified,
    NotFound,
    NoTopicSpecified,
    PartialDispatch,
)
from duebus_server.domain.model import EngineName

CLASSES = {
    name: value
    for name, value in vars(errors).items()
    if isinstance(value, type) and issubclass(value, DueBusError) and value.__module__ == errors.__name__
}

REASONS_OF_THE_CONTRACT = {
    "DISPATCHER_NOT_WORKING",
    "NO_DISPATCHER_SPECIFIED",
    "NO_TOPIC_SPECIFIED",
    "INVALID_ARGUMENT",
    "NO_EVENT_SPECIFIED",
    "NO_HANDLER_FOUND",
    "DUPLICATE_INITIALIZED",
    "MAX_QUEUED_EVENTS_REACHED",
    "CONCURRENT_MODIFICATION",
}


def test_the_drawing_shows_every_error_below_its_parent() -> None:
    drawn: dict[str, str] = {}
    parents: list[str] = []
    for line in (errors.__doc__ or "").splitlines():
        found = re.match(r"^ {4}((?:│   |    )*(?:[├└]── )?)(\w+)(?:  |$)", line)
        if found:
            depth = len(found[1]) // 4
            parents[depth:] = [found[2]]
            drawn[found[2]] = parents[depth - 1] if depth else "Exception"

    assert drawn == {name: one.__mro__[1].__name__ for name, one in CLASSES.items()}


def test_each_error_of_the_contract_has_one_class_and_no_two_share_a_reason() -> None:
    reasons = [one.reason for one in CLASSES.values() if isinstance(vars(one).get("reason"), str)]

    assert len(reasons) == len(set(reasons))
    assert set(reasons) >= REASONS_OF_THE_CONTRACT


def test_an_error_has_its_subject_in_the_metadata() -> None:
    error = MaxQueuedEventsReached("full", metadata={"topic": "orders"}, retry_after_us=5)

    assert (str(error), error.reason) == ("full", "MAX_QUEUED_EVENTS_REACHED")
    assert (dict(error.metadata), error.retry_after_us) == ({"topic": "orders"}, 5)
    plain = DispatcherNotWorking("stopped")
    assert (dict(plain.metadata), plain.retry_after_us) == ({}, None)


@pytest.mark.parametrize(
    ("error", "field"),
    [
        (InvalidArgument("events[3].delay", "must not be negative"), "events[3].delay"),
        (NoTopicSpecified(), "topic"),
        (NoTopicSpecified("held_topic"), "held_topic"),
        (NoEventSpecified(), "events"),
    ],
)
def test_bad_input_names_its_field(error: InvalidArgument, field: str) -> None:
    assert isinstance(error.violation, FieldViolation)
    assert error.violation.field == field
    assert str(error) == f"{field}: {error.violation.description}"


def test_not_found_names_what_is_missing() -> None:
    error = NotFound("event", "e-1", topic="orders")

    assert str(error) == "no event 'e-1'"
    assert error.metadata == {"topic": "orders", "event": "e-1"}


def test_a_partial_dispatch_has_the_reason_of_the_engine_that_failed() -> None:
    cause = MaxQueuedEventsReached("full", metadata={"topic": "orders"}, retry_after_us=7)

    error = PartialDispatch(cause, [EngineName.LOCAL], ["e-1", "e-2"])

    assert error.reason == "MAX_QUEUED_EVENTS_REACHED"
    assert error.retry_after_us == 7
    assert error.metadata == {"topic": "orders", "stored_engines": "local"}
    assert error.stored_engines == (EngineName.LOCAL,)
    assert error.event_ids == ("e-1", "e-2")
    assert "full" in str(error)
    assert "local" in str(error)
