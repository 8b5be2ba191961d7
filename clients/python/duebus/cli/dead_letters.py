"""Selects dead letters by the same rules as the server."""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any

from duebus._core.admin_model import EventInfo
from duebus._core.enums import Engine, EventState
from duebus.cli.progress import looked_at
from duebus.cli.spans import format_count
from duebus.client import Client
from duebus.errors import NotFound

_PAGE = 1000
_LOOKED_AT = 10_000


@dataclass(frozen=True, slots=True)
class Chosen:
    """The dead letters of a group that meet every condition.

    Attributes:
        topic: The topic.
        group: Its name.
        engine: None: the server's default engine.
        event_ids: Only these; empty: any.
        error: Only those whose last error contains this text.
        min_age: Only those that have been dead for at least this long.
        key: Only those with this key.
    """

    topic: str
    group: str
    engine: Engine | None = None
    event_ids: tuple[str, ...] = ()
    error: str = ""
    min_age: timedelta | None = None
    key: str = ""

    @property
    def where(self) -> str:
        """As text for people."""
        return f"{self.topic} in group {self.group}"

    @property
    def place(self) -> dict[str, Any]:
        """As data for programs."""
        return {"topic": self.topic, "group": self.group}

    @property
    def is_some(self) -> bool:
        """Whether there is a condition."""
        return bool(self.event_ids or self.error or self.min_age or self.key)

    @property
    def conditions(self) -> dict[str, Any]:
        """The arguments of `client.admin.redrive` and `purge`."""
        return {
            "topic": self.topic,
            "group": self.group,
            "engine": self.engine,
            "event_ids": self.event_ids or None,
            "error_contains": self.error or None,
            "min_age": self.min_age,
            "key": self.key or None,
        }

    def dead_now(self, client: Client) -> int:
        """How many dead letters the group has, selected or not."""
        groups = client.admin.get_topic(self.topic, engine=self.engine).groups
        return sum(each.dead for each in groups if each.group == self.group)

    def fits(self, event: EventInfo, now: datetime) -> bool:
        """Whether a dead letter of the group meets the conditions, apart from the ids."""
        [group] = event.groups
        long_enough = self.min_age is None or group.dead_at is None or now - group.dead_at >= self.min_age
        return long_enough and self.error in group.last_error and self.key in ("", event.key)


@dataclass(frozen=True, slots=True)
class Extent:
    """How many dead letters are selected.

    Attributes:
        count: How many are selected at least.
        among: How many dead letters the group has.
        is_exact: Whether exactly `count` are selected.
    """

    count: int
    among: int
    is_exact: bool = True

    def __str__(self) -> str:
        if self.is_exact:
            return format_count(self.count, "dead letter")
        known = f"at least {self.count:,}" if self.count else "some"
        return f"{known} of {format_count(self.among, 'dead letter')}"


def found(client: Client, chosen: Chosen, *, newest: bool = False, limit: int = _PAGE) -> Iterator[EventInfo]:
    """The selected dead letters, the longest dead first, or the latest.

    Args:
        client: An open client.
        chosen: What to select.
        newest: The latest dead first.
        limit: How many the caller expects to take.
    """
    now = datetime.now(UTC)
    return (each for each in _candidates(client, chosen, newest, limit) if chosen.fits(each, now))


def extent_of(client: Client, chosen: Chosen) -> Extent:
    """Counts them. It examines at most 10,000 dead letters of the group, to answer quickly."""
    dead = chosen.dead_now(client)
    if not chosen.is_some:
        return Extent(dead, dead)
    now = datetime.now(UTC)
    candidates = islice(_candidates(client, chosen, newest=False, limit=_PAGE), _LOOKED_AT)
    count = sum(chosen.fits(each, now) for each in candidates)
    return Extent(count, dead, bool(chosen.event_ids) or dead <= _LOOKED_AT)


def _candidates(client: Client, chosen: Chosen, newest: bool, limit: int) -> Iterator[EventInfo]:
    if chosen.event_ids:
        return _by_id(client, chosen)
    listed = client.admin.list_events(
        chosen.topic,
        EventState.DEAD,
        group=chosen.group,
        key=chosen.key,
        engine=chosen.engine,
        newest_first=newest,
        page_size=_PAGE if chosen.is_some else min(limit, _PAGE),
    )
    return looked_at(f"looking through {chosen.topic}", listed) if chosen.is_some else listed


def missing(client: Client, chosen: Chosen) -> list[str]:
    """The selected ids that are not dead letters of the group."""
    there = {each.event_id for each in _by_id(client, chosen)}
    return [each for each in dict.fromkeys(chosen.event_ids) if each not in there]


def _by_id(client: Client, chosen: Chosen) -> Iterator[EventInfo]:
    for event_id in dict.fromkeys(chosen.event_ids):
        with suppress(NotFound):
            event = client.admin.get_event(chosen.topic, event_id, engine=chosen.engine)
            for group in event.groups:
                if group.group == chosen.group and group.state is EventState.DEAD:
                    yield replace(event, groups=(group,))
