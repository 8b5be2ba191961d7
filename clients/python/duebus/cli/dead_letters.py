"""The dead letters that a person chooses: found as the server would find them."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from duebus import Client, Engine, EventInfo, EventState
from duebus.cli.progress import count_shown

_PAGE = 1000
_DEFAULT_GROUP = "default"


@dataclass(frozen=True, slots=True)
class Chosen:
    """Dead letters of a group: those that meet every condition.

    Attributes:
        topic: The topic.
        group: Empty: "default".
        engine: None: the server's default engine.
        event_ids: Only these; empty: any.
        error: Only those whose last error contains this text.
        min_age: Only those that have been dead for at least this long.
    """

    topic: str
    group: str = ""
    engine: Engine | None = None
    event_ids: tuple[str, ...] = ()
    error: str = ""
    min_age: timedelta | None = None

    @property
    def where(self) -> str:
        """For a person."""
        return f"{self.topic} in group {self.group or _DEFAULT_GROUP}"

    @property
    def place(self) -> dict[str, Any]:
        """For a program."""
        return {"topic": self.topic, "group": self.group or _DEFAULT_GROUP}

    @property
    def is_some(self) -> bool:
        """Whether there is a condition."""
        return bool(self.event_ids or self.error or self.min_age)

    @property
    def conditions(self) -> dict[str, Any]:
        """The arguments of `client.admin.redrive` and `purge`."""
        return {
            "topic": self.topic,
            "group": self.group,
            "engine": self.engine,
            "event_ids": self.event_ids or None,
            "error_contains": self.error,
            "min_age": self.min_age,
        }

    def dead_now(self, client: Client) -> int:
        """How many dead letters the group has, whether they are chosen or not."""
        groups = client.admin.get_topic(self.topic, engine=self.engine).groups
        return sum(each.dead for each in groups if each.group == (self.group or _DEFAULT_GROUP))

    def fits(self, event: EventInfo, now: datetime) -> bool:
        """Whether a dead letter of the group meets the conditions but that of the ids."""
        [group] = event.groups
        long_enough = self.min_age is None or group.dead_at is None or now - group.dead_at >= self.min_age
        return long_enough and self.error in group.last_error


def found(client: Client, chosen: Chosen, *, newest: bool = False, limit: int = _PAGE) -> Iterator[EventInfo]:
    """Those that are there, the longest dead first, or the latest.

    Args:
        client: Not closed.
        chosen: Which.
        newest: The latest dead first.
        limit: So many are going to be taken, as far as the caller knows.
    """
    now = datetime.now(UTC)
    letters = _by_id(client, chosen) if chosen.event_ids else _listed(client, chosen, newest, limit)
    return (each for each in letters if chosen.fits(each, now))


def _by_id(client: Client, chosen: Chosen) -> Iterator[EventInfo]:
    for event_id in dict.fromkeys(chosen.event_ids):
        event = client.admin.get_event(chosen.topic, event_id, engine=chosen.engine)
        for group in event.groups:
            if group.group == (chosen.group or _DEFAULT_GROUP) and group.state is EventState.DEAD:
                yield replace(event, groups=(group,))


def _listed(client: Client, chosen: Chosen, newest: bool, limit: int) -> Iterator[EventInfo]:
    return client.admin.list_events(
        chosen.topic,
        EventState.DEAD,
        group=chosen.group,
        engine=chosen.engine,
        newest_first=newest,
        page_size=_PAGE if chosen.is_some else min(limit, _PAGE),
    )


def count_of(client: Client, chosen: Chosen) -> int:
    """How many there are. With a condition on the error or the age it looks at every dead letter of the group."""
    if not chosen.is_some:
        return chosen.dead_now(client)
    return count_shown(f"counting {chosen.topic}", found(client, chosen))
