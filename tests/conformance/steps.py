"""The steps of a case, and their arguments."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

COMMANDS = {
    "connect": ("client",),
    "close": ("client",),
    "dispatch": ("client", "topic"),
    "ack": ("client",),
    "nack": ("client",),
    "extend": ("client",),
    "subscribe": ("client", "subscription", "topic"),
    "unsubscribe": ("subscription",),
    "stop": ("client",),
    "admin": ("client",),
    "is_serving": ("client",),
    "schedule.put": ("client", "topic", "name"),
    "schedule.get": ("client", "name"),
    "schedule.list": ("client",),
    "schedule.delete": ("client", "name"),
    "schedule.pause": ("client", "name"),
    "schedule.resume": ("client", "name"),
    "schedule.trigger": ("client", "name"),
    "schedule.backfill": ("client", "name"),
    "schedule.preview": ("client",),
    "worker.start": ("client", "worker", "topic"),
    "worker.finish": ("worker",),
    "worker.stop": ("worker",),
}
"""The driver's commands, and their fields with defaults: the client `main`, the subscription `s`, the worker `w`, the
topic of the case, and as a schedule's name that topic.
"""

WORKER_EVENTS = ("ready", "handling", "cancelled", "stopped")
SUBSCRIPTION_EVENTS = ("delivery", "heartbeat", "closing", "ended")
EVENTS = WORKER_EVENTS + SUBSCRIPTION_EVENTS
"""These expect the next event of that kind; `delivery` expects one delivery of a frame."""

OTHERS = (
    "answer",
    "handlings",
    "topic",
    "group",
    "event",
    "gone",
    "server",
    "advance",
    "link",
    "stub",
    "dispatches",
    "pass_ms",
    "none",
    "set",
)

MODIFIERS = ("gives", "fails", "later", "times")


@dataclass(frozen=True)
class Step:
    """A verb, its argument, and what is expected of it.

    Attributes:
        verb: one of COMMANDS, EVENTS and OTHERS.
        argument: the argument of the verb.
        gives: the expected result of a command.
        fails: the expected error of a command.
        later: the name by which a later step `answer` gets the command's answer; nothing waits for it before that.
        times: how many times a command is carried out, one after the other.
    """

    verb: str
    argument: Any
    gives: Any = None
    fails: Any = None
    later: str | None = None
    times: int = 1

    def __str__(self) -> str:
        return f"{self.verb}: {self.argument}"


def read_step(row: dict[str, Any]) -> Step:
    """Parse a step of cases.yaml.

    Raises:
        ValueError: there is no such step.
    """
    verbs = [key for key in row if key not in MODIFIERS]
    if len(verbs) != 1 or verbs[0] not in {*COMMANDS, *EVENTS, *OTHERS}:
        raise ValueError(f"not a step: {row}")
    (verb,) = verbs
    return Step(verb, row[verb], **{key: row[key] for key in row if key != verb})
