"""One step of a case: what there is, and what each takes."""

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
    "worker.start": ("client", "worker", "topic"),
    "worker.finish": ("worker",),
    "worker.stop": ("worker",),
}
"""The driver's commands, with the fields that have a default: client main, subscription s, worker w, a topic."""

WORKER_EVENTS = ("ready", "handling", "cancelled", "stopped")
SUBSCRIPTION_EVENTS = ("delivery", "heartbeat", "closing", "ended")
EVENTS = WORKER_EVENTS + SUBSCRIPTION_EVENTS
"""The next event of that kind is as described; `delivery` is one of a frame of deliveries."""

OTHERS = ("answer", "handlings", "topic", "group", "event", "gone", "server", "link", "pass_ms", "none", "set")

MODIFIERS = ("gives", "fails", "later")


@dataclass(frozen=True)
class Step:
    """A verb, its argument, and what is expected of it.

    Attributes:
        verb: one of COMMANDS, EVENTS and OTHERS.
        argument: what stands beside the verb.
        gives: the expected result of a command.
        fails: the expected error of a command.
        later: a name under which the step `answer` finds the command's answer; nobody waits for it until then.
    """

    verb: str
    argument: Any
    gives: Any = None
    fails: Any = None
    later: str | None = None

    def __str__(self) -> str:
        return f"{self.verb}: {self.argument}"


def read_step(row: dict[str, Any]) -> Step:
    """A step as it stands in cases.yaml.

    Raises:
        ValueError: there is no such step.
    """
    verbs = [key for key in row if key not in MODIFIERS]
    if len(verbs) != 1 or verbs[0] not in {*COMMANDS, *EVENTS, *OTHERS}:
        raise ValueError(f"not a step: {row}")
    (verb,) = verbs
    return Step(verb, row[verb], **{key: row[key] for key in row if key != verb})
