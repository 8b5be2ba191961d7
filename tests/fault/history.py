"""The history of a fault test, assembled from the journals of its processes. All times are in microseconds."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from fault.journal import read_journal

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from fault.journal import Line

DONE, UNKNOWN = "done", "unknown"
"""The outcome of a settle, besides the reasons of lease failures: certainly carried out, or unknown."""

ACK, NACK, EXTEND = "ack", "nack", "extend"


@dataclass(slots=True)
class Dispatched:
    """An event as its producer knows it.

    Attributes:
        name: the producer's own name for it, in the payload.
        began: when the first call that carried it began.
        event_id: the id that Dispatch answered; None: the event was not accepted, or the answer was lost.
        key: what it is in order by; empty for none.
    """

    name: str
    began: int
    delay: int = 0
    event_id: str | None = None
    key: str = ""


@dataclass(slots=True)
class Delivery:
    """One delivery, as the worker got it.

    Attributes:
        worker: the process; a new one has a new name.
        name: the producer's name for the event.
        granted: when the engine gave the lease, by Redis's clock.
        came: when it reached the worker.
        expires: when the lease runs out, unless it is extended.
        due: its due time, as the engine reports it.
    """

    group: str
    worker: str
    name: str
    event_id: str
    fence: int
    granted: int
    came: int
    expires: int
    due: int = 0
    attempt: int = 1
    last_error: str = ""


@dataclass(slots=True)
class Settle:
    """One try of an ack, a nack or an extension of one lease.

    Attributes:
        outcome: DONE, UNKNOWN, or the reason of the failure.
        lease: how long it was extended for.
        error: the error of a nack.
        delay: the delay of a nack; None: the backoff.
        final: whether the nack was to make the event a dead letter.
        release: whether the nack was a release, which does not count the attempt.
    """

    group: str
    verb: str
    fence: int
    began: int
    outcome: str = UNKNOWN
    lease: int = 0
    error: str = ""
    delay: int | None = None
    final: bool = False
    release: bool = False


@dataclass(slots=True)
class Stream:
    """One Subscribe of a worker; `ended` is None when the worker was killed before it ended."""

    worker: str
    server: str
    began: int
    ended: int | None = None


@dataclass(slots=True)
class Outage:
    """A time in which a process or a link did not work, or not well.

    Attributes:
        what: the fault.
        target: "server:0", "link:0" (between server 0 and Redis), "redis", "worker:NAME", "producer:NAME", "host".
    """

    what: str
    target: str
    began: int
    ended: int


@dataclass(slots=True)
class Left:
    """An event that the bus still holds at the end."""

    group: str
    event_id: str
    state: str


@dataclass(slots=True)
class History:
    """The whole history.

    Attributes:
        dispatched: each producer's events in the order in which it dispatched them.
        handlers_ended: when each handler ended, by group and fencing token. A killed worker's did not.
    """

    groups: list[str] = field(default_factory=list)
    dispatched: list[Dispatched] = field(default_factory=list)
    deliveries: list[Delivery] = field(default_factory=list)
    settles: list[Settle] = field(default_factory=list)
    streams: list[Stream] = field(default_factory=list)
    outages: list[Outage] = field(default_factory=list)
    left: list[Left] = field(default_factory=list)
    handlers_ended: dict[tuple[str, int], int] = field(default_factory=dict)


def read_history(directory: Path) -> History:
    """The journals of all processes in a directory."""
    history = History()
    for path in sorted(directory.glob("*.jsonl")):
        lines = list(read_journal(path))
        if path.stem.startswith("producer"):
            read_producer(lines, history)
        elif path.stem.startswith("worker"):
            read_worker(path.stem, lines, history)
        else:
            read_conductor(lines, history)
    return history


def read_producer(lines: Iterable[Line], history: History) -> None:
    """`dispatch` lines with the events of a request, `accepted` ones with their ids."""
    requests: dict[str, list[Dispatched]] = {}
    for line in lines:
        if line["kind"] == "dispatch":
            events = [
                Dispatched(event["name"], line["at"], event["delay"], key=event["key"]) for event in line["events"]
            ]
            requests[line["request"]] = events
            history.dispatched += events
        elif line["kind"] == "accepted":
            for event, event_id in zip(requests[line["request"]], line["ids"], strict=True):
                event.event_id = event_id


def read_worker(worker: str, lines: Iterable[Line], history: History) -> None:
    """`worker`, then `stream`, `stream_end`, `delivery`, `call`, `answer` and `handled` lines."""
    group = ""
    streams: dict[int, Stream] = {}
    calls: dict[int, list[Settle]] = defaultdict(list)
    for line in lines:
        match line["kind"]:
            case "worker":
                group = line["group"]
            case "stream":
                streams[line["stream"]] = Stream(worker, line["server"], line["at"])
            case "stream_end":
                streams[line["stream"]].ended = line["at"]
            case "delivery":
                history.deliveries.append(_delivery(group, worker, line))
            case "call":
                calls[line["call"]] = [Settle(group, line["verb"], began=line["at"], **one) for one in line["leases"]]
            case "answer":
                for settle in calls[line["call"]]:
                    settle.outcome = line["failed"].get(str(settle.fence), DONE)
            case "handled":
                history.handlers_ended[group, line["fence"]] = line["at"]
    history.streams += streams.values()
    history.settles += [settle for settles in calls.values() for settle in settles]


def read_conductor(lines: Iterable[Line], history: History) -> None:
    """`groups`, then `outage` and `left` lines."""
    for line in lines:
        match line["kind"]:
            case "groups":
                history.groups = line["groups"]
            case "outage":
                history.outages.append(Outage(line["what"], line["target"], line["began"], line["ended"]))
            case "left":
                history.left.append(Left(line["group"], line["event_id"], line["state"]))


def _delivery(group: str, worker: str, line: Line) -> Delivery:
    fields = ("name", "event_id", "fence", "granted", "expires", "due", "attempt", "last_error")
    return Delivery(group, worker, came=line["at"], **{name: line[name] for name in fields})
