"""`duebus event`: the history of one event."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime

from duebus._core.admin_model import EventGroupInfo, EventInfo
from duebus._core.enums import AttemptOutcome, EventState
from duebus.cli import options
from duebus.cli.cells import NO_GROUP
from duebus.cli.output import Output, calls, clean, event_text, headline
from duebus.cli.records import event_record
from duebus.cli.session import Session, connected
from duebus.cli.spans import format_ago, format_count, format_moment, format_span

_WHY_DONE = "acked, cancelled or purged there, or dispatched before the group existed"
_FOLDED = ("WHAT", "CONSUMER", "ERROR")
_OUTCOMES = {
    AttemptOutcome.UNDER_WAY: "under way",
    AttemptOutcome.NACKED: "failed, to be retried",
    AttemptOutcome.DEAD: "failed, became a dead letter",
    AttemptOutcome.RELEASED: "released, not counted",
    AttemptOutcome.EXPIRED: "its lease ran out",
}


@connected
def event(session: Session, topic: options.Topic, event_id: options.EventId, engine: options.OneEngine = None) -> None:
    """Show the history of an event.

    Shows when it was dispatched and by whom. For each group that is not done with it, shows its state, what happened to
    it and when, and the errors of its attempts.
    """
    with session.client() as client:
        found = client.admin.get_event(topic, event_id, engine=engine)
        if session.out.as_json:
            session.out.record(event_record(found))
            return
        groups = {each.group for each in client.admin.get_topic(topic, engine=engine).groups if each.group}
    for name, value in _facts(found):
        session.out.line(f"{name:<12}{value}")
    for group in found.groups:
        _tell(session.out, found, group)
    done = groups - {each.group for each in found.groups}
    if done:
        session.out.line()
        session.out.line(f"no longer in group {', '.join(sorted(done))}: {_WHY_DONE}")


def _tell(out: Output, event: EventInfo, group: EventGroupInfo) -> None:
    out.line()
    out.line(f"in group {group.group or NO_GROUP}: {_standing(group)}")
    if group.last_error:
        out.line(f"last error: {headline(group.last_error)}")
        for line in calls(group.last_error):
            out.line(line)
    out.line()
    out.table(_columns(event), list(_rows(_timeline(event, group))), folded=_FOLDED)


def _facts(event: EventInfo) -> Iterator[tuple[str, str]]:
    yield "event", clean(event.event_id)
    yield "topic", event.topic
    yield "data", event_text(event)
    yield "type", clean(event.content_type)
    if event.key:
        yield "key", clean(event.key)
    if event.priority:
        yield "priority", f"{event.priority:+} s"
    for name, value in sorted(event.attributes.items()):
        yield "attribute", f"{clean(name)}={clean(value)}"
    if event.dispatched_at is not None:
        yield "dispatched", f"{_and_ago(event.dispatched_at)}{_by(event.dispatched_by)}"


def _by(whom: str) -> str:
    return f" by {clean(whom)}" if whom else ""


def _and_ago(moment: datetime) -> str:
    return f"{format_moment(moment)} ({format_ago(moment)})"


def _standing(group: EventGroupInfo) -> str:
    since = " since it was redriven" if any(each.redriven_at for each in group.history) else ""
    free = f" ({group.free_attempts} used up no retry)" if group.free_attempts else ""
    tries = f"{format_count(group.attempts, 'attempt')}{since}{free}, {group.max_retries} retries allowed"
    match group.state:
        case EventState.LEASED if group.lease_expires_at is not None:
            holder = clean(group.consumer) or "a subscriber"
            state = f"leased to {holder} until {_and_ago(group.lease_expires_at)}"
        case EventState.DEAD if group.dead_at is not None:
            state = f"dead since {_and_ago(group.dead_at)}"
        case EventState.BLOCKED if group.deliver_at is not None:
            state = f"blocked by {clean(group.waits_for) or 'its key'}, due {_and_ago(group.deliver_at)}"
        case _ if group.deliver_at is not None:
            state = f"{group.state}, due {_and_ago(group.deliver_at)}"
        case _:
            state = group.state
    return f"{state}; {tries}"


@dataclass(frozen=True, slots=True)
class _Step:
    """Something that happened to the event, or is expected to happen."""

    what: str
    at: datetime | None = None
    until: datetime | None = None
    consumer: str = ""
    error: str = ""


def _timeline(event: EventInfo, group: EventGroupInfo) -> Iterator[_Step]:
    """What happened in the group, in order, and what is expected next."""
    yield _Step("dispatched", event.dispatched_at)
    if group.history and group.history[0].attempt > 1:
        yield _Step("earlier attempts, no longer recorded")
    for attempt in group.history:
        outcome = _OUTCOMES.get(attempt.outcome, "ended")
        what = f"attempt {attempt.attempt}: {outcome}"
        yield _Step(what, attempt.started_at, attempt.ended_at, clean(attempt.consumer), headline(attempt.error))
        if attempt.redriven_at is not None:
            yield _Step("redriven, with all its retries", attempt.redriven_at)
    yield from _what_is_next(group)


def _what_is_next(group: EventGroupInfo) -> Iterator[_Step]:
    match group.state:
        case EventState.SCHEDULED:
            yield _Step("becomes due", group.deliver_at)
        case EventState.READY:
            yield _Step("ready, waits for a subscriber")
        case EventState.BLOCKED:
            yield _Step(f"waits for {clean(group.waits_for)}, which has the same key")
        case EventState.LEASED:
            yield _Step("the lease runs out, unless it is settled or extended", group.lease_expires_at)
        case EventState.DEAD if not group.history or group.history[-1].outcome is not AttemptOutcome.DEAD:
            yield _Step("became a dead letter", group.dead_at)


def _columns(event: EventInfo) -> tuple[str, ...]:
    """A note on local times, with the offset at dispatch."""
    offset = "" if event.dispatched_at is None else f" ({format_moment(event.dispatched_at)[-len('+00:00') :]})"
    return (f"FROM{offset}", "UNTIL", "TOOK", *_FOLDED)


def _rows(steps: Iterable[_Step]) -> Iterator[tuple[str, ...]]:
    """The time, with the date if it differs from the previous line's."""
    today = ""
    for each in steps:
        day, time = _day_and_time(each.at)
        until_day, until = _day_and_time(each.until)
        took = "" if each.at is None or each.until is None else format_span(each.until - each.at)
        yield (
            f"{' ' * len(day) if day == today else day} {time}" if time else "",
            f"{until_day} {until}" if until_day != day else until,
            took,
            each.what,
            each.consumer,
            each.error,
        )
        today = day or today


def _day_and_time(moment: datetime | None) -> tuple[str, str]:
    if moment is None:
        return "", ""
    local = moment.astimezone()
    return f"{local:%Y-%m-%d}", local.time().isoformat(timespec="milliseconds")
