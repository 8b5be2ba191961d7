"""A program that reads nothing but a server's metrics, and names what is in trouble by the thresholds of the alerts.

``PYTHONPATH=tests python -m support.troubles http://127.0.0.1:9090/metrics``
"""

from __future__ import annotations

import sys
import urllib.request
from collections import defaultdict
from enum import StrEnum
from typing import NamedTuple

from prometheus_client.parser import text_string_to_metric_families

STUCK_S, BLOCKED_S, HUNG_S = 300, 900, 1_800
FAILING, NEARLY_FULL = 0.2, 0.9


class Kind(StrEnum):
    """What is wrong with a group, or with a topic."""

    NO_SUBSCRIBERS = "events are due, and nobody is subscribed"
    NO_GROUP = "events are due, and the topic has no group"
    NO_ROOM = "events are due, and workers take nothing"
    LATE = "workers fall behind"
    HUNG = "a handler hangs"
    BLOCKED = "an event holds up its key"
    HELD = "a dead letter holds its key"
    DEAD = "events have died"
    FAILING = "handlers fail"
    SUSPECT = "workers die while they hold events"
    PAUSED = "the group is paused"
    AT_LIMIT = "as many events are leased as the limit allows"
    SLOWED = "a rate holds events up"
    NEARLY_FULL = "the topic is nearly full"
    FULL = "the topic is full"
    MISSED = "schedules miss times"


class Trouble(NamedTuple):
    """What is wrong with a topic."""

    topic: str
    kind: Kind


class Figures(defaultdict[str, float]):
    """The metrics of one group, or of a topic, by name; those with one more label as NAME LABEL. Missing ones are 0."""

    def __init__(self) -> None:
        super().__init__(float)


def read(text: str) -> dict[tuple[str, str | None], Figures]:
    """The metrics of each topic and group; None stands for the topic itself."""
    found: defaultdict[tuple[str, str | None], Figures] = defaultdict(Figures)
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels = dict(sample.labels)
            topic, group, _ = labels.pop("topic", None), labels.pop("group", None), labels.pop("engine", None)
            if topic is not None:
                name = " ".join([sample.name.removeprefix("duebus_"), *labels.values()])
                found[topic, group][name] += sample.value
    return dict(found)


def troubles(text: str) -> set[Trouble]:
    """What is wrong, by a scrape."""
    return {
        Trouble(topic, kind)
        for (topic, group), figures in read(text).items()
        for kind in (of_topic(figures) if group is None else of_group(group, figures))
    }


def of_group(group: str, figures: Figures) -> set[Kind]:
    """What is wrong with a group."""
    ready, leased, limit = figures["group_events ready"], figures["group_events leased"], figures["max_in_flight"]
    dead, delivered = figures["group_events dead"], figures["events_delivered_total"]
    is_stuck, is_blocked = figures["stuck_age_seconds"] > STUCK_S, figures["oldest_blocked_age_seconds"] > BLOCKED_S
    is_limited = ready > 0 and figures["throttled_groups"] > 0 and not figures["paused_groups"]
    found = {
        Kind.NO_GROUP: is_stuck and not group,
        Kind.NO_SUBSCRIBERS: is_stuck and group and not figures["subscribers"],
        Kind.NO_ROOM: is_stuck and figures["subscribers"],
        Kind.LATE: figures["oldest_ready_age_seconds"] > STUCK_S and not is_stuck and not is_limited,
        Kind.HUNG: figures["oldest_lease_age_seconds"] > HUNG_S,
        Kind.BLOCKED: is_blocked and not dead,
        Kind.HELD: is_blocked and dead,
        Kind.DEAD: dead or figures["events_dead_total"],
        Kind.FAILING: figures["events_nacked_total retry"] > FAILING * delivered,
        Kind.SUSPECT: figures["events_suspected_total"],
        Kind.PAUSED: figures["paused_groups"] and ready,
        Kind.AT_LIMIT: is_limited and limit and leased >= limit,
        Kind.SLOWED: is_limited and not (limit and leased >= limit),
    }
    return {kind for kind, is_so in found.items() if is_so}


def of_topic(figures: Figures) -> set[Kind]:
    """What is wrong with a topic itself."""
    queued, most = figures["queued"], figures["max_queued"]
    found = {
        Kind.FULL: most and queued >= most,
        Kind.NEARLY_FULL: most and most > queued > NEARLY_FULL * most,
        Kind.MISSED: figures["schedules_missed_total"],
    }
    return {kind for kind, is_so in found.items() if is_so}


if __name__ == "__main__":
    with urllib.request.urlopen(sys.argv[1]) as answer:  # noqa: S310  # the caller's own URL
        for trouble in sorted(troubles(answer.read().decode())):
            print(f"{trouble.topic}: {trouble.kind}")  # noqa: T201  # its output
