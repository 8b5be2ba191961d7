"""One topic of an engine, with short verbs for tests."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from duebus_server.domain.administration import (
    CancelAnswer,
    DeadLetterFilter,
    DeadLetterProgress,
    DeadLetterStep,
    GroupChanges,
    NewDueTime,
    RetryPolicyChanges,
    TopicChanges,
)
from duebus_server.domain.clock import SECOND
from duebus_server.domain.errors import DueBusError, NotFound
from duebus_server.domain.event_ids import EventIds
from duebus_server.domain.model import (
    DEFAULT_GROUP,
    AdoptedLease,
    DispatchAnswer,
    DispatchRequest,
    LeaseBatch,
    LeasedEvent,
    LeaseFailureReason,
    LeaseRef,
    LeaseRequest,
    NackAction,
    NackRef,
    NewEvent,
    Pause,
    PauseScope,
    Refill,
    Reservation,
    SubscriberInfo,
)
from duebus_server.domain.retry import FREE_EXPIRIES
from duebus_server.domain.states import EventState
from duebus_server.domain.views import (
    EventGroupInfo,
    EventInfo,
    EventPage,
    EventQuery,
    GroupInfo,
    KeyPage,
    KeyQuery,
    TopicConfig,
)

from support.builders import new_event, unique_name

if TYPE_CHECKING:
    from collections.abc import Sequence

    from duebus_server.engine.base import Engine

    from support.engines import Harness

WORKER = "worker-1"
PLENTY = 1 << 40

Failures = list[LeaseFailureReason | None]


def ref(lease: LeasedEvent | LeaseRef) -> LeaseRef:
    """The lease's reference."""
    return lease if isinstance(lease, LeaseRef) else LeaseRef(lease.event_id, lease.fencing_token)


def ids(events: Sequence[LeasedEvent] | Sequence[EventInfo]) -> list[str]:
    """The events' ids, in order."""
    return [event.event_id for event in events]


def with_ids(events: list[NewEvent], now_us: int, request_id: str) -> list[NewEvent]:
    """The events; those without an id get one, as the bus gives them."""
    made = EventIds(now_us, request_id)
    for index, event in enumerate(events):
        if event.id_is_generated:
            event.id = made.at(index)
    return events


def together(batches: Sequence[LeaseBatch]) -> LeaseBatch:
    """Several batches as one."""
    return LeaseBatch(
        [event for batch in batches for event in batch.events],
        min((batch.next_due_us for batch in batches if batch.next_due_us is not None), default=None),
        any(batch.has_more for batch in batches),
        any(batch.is_paused for batch in batches),
        min((batch.suspect_due_us for batch in batches if batch.suspect_due_us is not None), default=None),
    )


def _policy(changes: dict[str, Any]) -> RetryPolicyChanges:
    """The changes of the retry policy, which are taken out."""
    return RetryPolicyChanges(**{name: changes.pop(name) for name in RetryPolicyChanges.__slots__ if name in changes})


class TopicDriver:
    """A topic that only this test uses."""

    def __init__(self, harness: Harness, engine: Engine | None = None) -> None:
        self.name = unique_name()
        self.harness = harness
        self.engine = engine or harness.engine

    async def set_partitions(self) -> None:
        """Give the topic the harness's number of partitions."""
        if self.harness.partitions > 1:
            await self.configure(partitions=self.harness.partitions)

    # --- dispatch -----------------------------------------------------------------------------------------------------

    async def try_dispatch(
        self, *events: NewEvent | str, request_id: str = "", require_subscriber: bool = False, origin: str = ""
    ) -> DispatchAnswer | DueBusError:
        """One request; a string is an event of that id, due at once."""
        made = [new_event(event) if isinstance(event, str) else event for event in events]
        if request_id:
            with_ids(made, self.harness.now_us(), request_id)
        request = DispatchRequest(made, request_id, require_subscriber, origin)
        (answer,) = await self.engine.dispatch(self.name, [request])
        return answer

    async def dispatch(self, *events: NewEvent | str, request_id: str = "", origin: str = "") -> DispatchAnswer:
        """One request that succeeds."""
        answer = await self.try_dispatch(*events, request_id=request_id, origin=origin)
        assert isinstance(answer, DispatchAnswer), answer
        return answer

    async def hand_over(
        self,
        *events: NewEvent | str,
        room: LeaseRequest | None = None,
        session: str = WORKER,
        group: str = DEFAULT_GROUP,
    ) -> LeaseBatch:
        """Dispatch while a session has reserved room, by default for everything. Returns the report to the session.

        If the topic has several partitions, the reports of all that have stored something are put together.
        """
        made = [new_event(event) if isinstance(event, str) else event for event in events]
        reservation = Reservation(group, session, room or LeaseRequest(1_000, PLENTY))
        reports = self.harness.recorder.batches[session]
        reports.clear()
        (answer,) = await self.engine.dispatch(self.name, [DispatchRequest(made)], [reservation])
        assert isinstance(answer, DispatchAnswer), answer
        assert reports, "nothing was reported to the session"
        return together(reports)

    # --- sessions -----------------------------------------------------------------------------------------------------

    async def join(
        self,
        session: str = WORKER,
        group: str = DEFAULT_GROUP,
        consumer: str = "",
        *,
        ephemeral_us: int | None = None,
        grace_us: int = 0,
    ) -> bool:
        """Subscribe a session. Returns whether the group is limited."""
        info = SubscriberInfo(session, consumer, self.harness.now_us(), ephemeral_us=ephemeral_us, grace_us=grace_us)
        return await self.engine.join(self.name, group, info)

    async def leave(self, session: str = WORKER, group: str = DEFAULT_GROUP, *, returns_in_us: int = 0) -> None:
        """End a session."""
        await self.engine.leave(self.name, group, session, returns_in_us)

    async def adopt(
        self, session: str, *leases: LeasedEvent | LeaseRef, lease_us: int | None = None, group: str = DEFAULT_GROUP
    ) -> list[AdoptedLease | LeaseFailureReason]:
        """Move leases to a session."""
        return await self.engine.adopt(self.name, group, session, [ref(lease) for lease in leases], lease_us)

    # --- lease --------------------------------------------------------------------------------------------------------

    async def lease_batch(
        self,
        session: str = WORKER,
        group: str = DEFAULT_GROUP,
        *,
        max_events: int = 100,
        max_bytes: int = PLENTY,
        at_least_one: bool = True,
        lease_us: int | None = None,
        with_suspect: bool = True,
        stalled: bool = False,
    ) -> LeaseBatch:
        """Lease what is due now and fits."""
        request = LeaseRequest(max_events, max_bytes, at_least_one, lease_us, with_suspect, stalled)
        return await self.engine.lease(self.name, group, session, request)

    async def lease(
        self,
        session: str = WORKER,
        group: str = DEFAULT_GROUP,
        *,
        max_events: int = 100,
        lease_us: int | None = None,
    ) -> list[LeasedEvent]:
        """Lease the events that are due now."""
        batch = await self.lease_batch(session, group, max_events=max_events, lease_us=lease_us)
        return list(batch.events)

    async def lease_one(
        self, session: str = WORKER, group: str = DEFAULT_GROUP, *, lease_us: int | None = None
    ) -> LeasedEvent:
        """Lease the one event that is due now."""
        (event,) = await self.lease(session, group, lease_us=lease_us)
        return event

    async def lease_each(self, *event_ids: str, lease_us: int | None = None) -> list[LeasedEvent]:
        """Lease the events with these ids, which must be all that are due. Returns them in this order."""
        found = {event.event_id: event for event in await self.lease(lease_us=lease_us)}
        assert found.keys() == set(event_ids)
        return [found[event_id] for event_id in event_ids]

    async def let_run_out(self, times: int = FREE_EXPIRIES, session: str = WORKER) -> None:
        """Lease what is due for a second and let it run out, repeatedly; by default until it is a suspect."""
        for _ in range(times):
            await self.lease(session, lease_us=SECOND)
            await self.harness.advance(SECOND)

    async def lease_all(self, session: str = WORKER, group: str = DEFAULT_GROUP) -> list[LeasedEvent]:
        """Lease batches until nothing more is due, however large the engine makes them."""
        found: list[LeasedEvent] = []
        while True:
            batch = await self.lease_batch(session, group, max_events=10_000)
            found += batch.events
            if batch.next_due_us is None or batch.next_due_us > self.harness.now_us():
                return found

    async def extend(
        self, *leases: LeasedEvent | LeaseRef, lease_us: int | None = None, group: str = DEFAULT_GROUP
    ) -> Failures:
        """Renew leases."""
        return await self.engine.extend(self.name, group, [ref(lease) for lease in leases], lease_us)

    async def shorten(self, grace_us: int, session: str = WORKER, group: str = DEFAULT_GROUP) -> None:
        """Let a session's leases run out soon."""
        await self.engine.shorten(self.name, group, session, grace_us)

    # --- settle -------------------------------------------------------------------------------------------------------

    async def ack(self, *leases: LeasedEvent | LeaseRef, group: str = DEFAULT_GROUP) -> Failures:
        return await self.engine.ack(self.name, group, [ref(lease) for lease in leases])

    async def ack_and_lease(
        self,
        *leases: LeasedEvent,
        spare_bytes: int = PLENTY,
        lease_us: int | None = None,
        with_suspect: bool = True,
        session: str = WORKER,
        group: str = DEFAULT_GROUP,
    ) -> LeaseBatch:
        """Ack leases of a session whose window is full. Returns what it was leased in the same step.

        If the topic has several partitions, the reports of all that have settled something are put together.
        """
        sizes = {lease.fencing_token: len(lease.body) for lease in leases}
        refill = Refill(session, sizes, spare_bytes, lease_us, with_suspect)
        reports = self.harness.recorder.batches[session]
        reports.clear()
        settled = await self.engine.ack(self.name, group, [ref(lease) for lease in leases], refill)
        assert settled == [None] * len(leases)
        assert reports, "nothing was reported to the session"
        return together(reports)

    async def nack(
        self,
        *leases: LeasedEvent | LeaseRef,
        delay_us: int | None = None,
        error: str = "",
        action: NackAction = NackAction.RETRY,
        pause: Pause | None = None,
        group: str = DEFAULT_GROUP,
    ) -> Failures:
        nacks = [NackRef(ref(lease), action, delay_us, error, pause) for lease in leases]
        return await self.engine.nack(self.name, group, nacks)

    async def pause_key(self, *leases: LeasedEvent, for_us: int, group: str = DEFAULT_GROUP) -> Failures:
        """Release the leases and pause the keys of their events."""
        return await self.nack(*leases, action=NackAction.RELEASE, pause=Pause(for_us, PauseScope.KEY), group=group)

    async def pause_for(self, *leases: LeasedEvent, for_us: int, group: str = DEFAULT_GROUP) -> Failures:
        """Release the leases and pause their group."""
        return await self.nack(*leases, action=NackAction.RELEASE, pause=Pause(for_us, PauseScope.GROUP), group=group)

    async def release(self, *leases: LeasedEvent | LeaseRef, group: str = DEFAULT_GROUP) -> Failures:
        return await self.nack(*leases, action=NackAction.RELEASE, group=group)

    async def dead_letter(
        self, *leases: LeasedEvent | LeaseRef, error: str = "", group: str = DEFAULT_GROUP
    ) -> Failures:
        """Make the events dead letters."""
        return await self.nack(*leases, action=NackAction.DEAD_LETTER, error=error, group=group)

    # --- operate ------------------------------------------------------------------------------------------------------

    async def configure(self, **changes: Any) -> TopicConfig:
        """Change settings of the topic: fields of TopicChanges and of RetryPolicyChanges, mixed."""
        return await self.engine.configure_topic(self.name, TopicChanges(_policy(changes), **changes))

    async def configure_group(self, group: str = DEFAULT_GROUP, /, **changes: Any) -> TopicConfig:
        """Change settings of a group: fields of GroupChanges and of RetryPolicyChanges, mixed."""
        return await self.engine.configure_group(self.name, group, GroupChanges(_policy(changes), **changes))

    async def delete(self) -> int:
        return await self.engine.delete_topic(self.name)

    async def delete_group(self, group: str = DEFAULT_GROUP) -> int:
        return await self.engine.delete_group(self.name, group)

    async def pause(self, group: str = DEFAULT_GROUP) -> None:
        await self.engine.pause_group(self.name, group)

    async def resume(self, group: str = DEFAULT_GROUP) -> None:
        await self.engine.resume_group(self.name, group)

    async def cancel(self, *event_ids: str, group: str | None = None) -> CancelAnswer:
        return await self.engine.cancel(self.name, event_ids, group)

    async def reschedule(
        self, *event_ids: str, delay_us: int | None = None, deliver_at_us: int | None = None, group: str | None = None
    ) -> int:
        return await self.engine.reschedule(self.name, event_ids, group, NewDueTime(delay_us, deliver_at_us))

    async def redrive(
        self, chosen: DeadLetterFilter | None = None, step: DeadLetterStep | None = None, *, group: str = DEFAULT_GROUP
    ) -> DeadLetterProgress:
        """Redrive dead letters, one step."""
        return await self.engine.redrive(self.name, group, chosen or DeadLetterFilter(), step or DeadLetterStep(1_000))

    async def purge(
        self, chosen: DeadLetterFilter | None = None, step: DeadLetterStep | None = None, *, group: str = DEFAULT_GROUP
    ) -> DeadLetterProgress:
        """Purge dead letters, one step."""
        return await self.engine.purge(self.name, group, chosen or DeadLetterFilter(), step or DeadLetterStep(1_000))

    async def redrive_named(self, *event_ids: str, group: str = DEFAULT_GROUP) -> None:
        """Redrive these dead letters."""
        assert (await self.redrive(DeadLetterFilter(event_ids), group=group)).moved == len(event_ids)

    async def purge_named(self, *event_ids: str, group: str = DEFAULT_GROUP) -> None:
        """Purge these dead letters."""
        assert (await self.purge(DeadLetterFilter(event_ids), group=group)).moved == len(event_ids)

    async def make_dead(self, *event_ids: str, error: str = "", group: str = DEFAULT_GROUP) -> None:
        """Dispatch events and make them dead letters, in order, at different times. The session WORKER has joined."""
        for event_id in event_ids:
            await self.dispatch(event_id)
            await self.dead_letter(await self.lease_one(group=group), error=error, group=group)
            await self.harness.advance(self.harness.grain_us)

    # --- inspect ------------------------------------------------------------------------------------------------------

    async def group(self, group: str = DEFAULT_GROUP) -> GroupInfo:
        """A group as operators see it; "" has the events of a topic without groups."""
        topic = await self.engine.get_topic(self.name)
        return next(info for info in topic.groups if info.group == group)

    async def counts(self, group: str = DEFAULT_GROUP) -> dict[EventState, int]:
        """How many events are in each state that has any."""
        return {state: count for state, count in (await self.group(group)).counts.items() if count}

    async def queued(self) -> int:
        """How many events the topic holds, dead letters not counted."""
        return (await self.engine.get_topic(self.name)).queued

    async def group_info(self, event_id: str, group: str = DEFAULT_GROUP) -> EventGroupInfo:
        """What operators see of an event in a group."""
        event = await self.engine.get_event(self.name, event_id)
        return next(info for info in event.groups if info.group == group)

    async def state(self, event_id: str, group: str = DEFAULT_GROUP) -> EventState | None:
        """The event's state in a group; None when the group is done with it."""
        try:
            event = await self.engine.get_event(self.name, event_id)
        except NotFound:
            return None
        return next((info.state for info in event.groups if info.group == group), None)

    async def page(
        self,
        state: EventState,
        limit: int,
        cursor: str | None = None,
        *,
        newest_first: bool = False,
        max_bytes: int = PLENTY,
        group: str = DEFAULT_GROUP,
        key: str = "",
    ) -> EventPage:
        """A page of the group's events in a state."""
        query = EventQuery(group, state, limit, max_bytes, cursor, newest_first, key)
        return await self.engine.list_events(self.name, query)

    async def keys(self, limit: int = 100, cursor: str | None = None, *, group: str = DEFAULT_GROUP) -> KeyPage:
        """A page of the group's keys."""
        return await self.engine.list_keys(self.name, KeyQuery(group, limit, cursor))

    async def next_due(self, group: str = DEFAULT_GROUP) -> int | None:
        """When the group next has something to lease."""
        return await self.harness.next_due(self.name, group)

    async def assert_held_until(self, expires_us: int, group: str = DEFAULT_GROUP) -> None:
        """Assert that the group's only event is leased until exactly this time."""
        harness = self.harness
        await harness.advance(expires_us - harness.now_us() - harness.grain_us)
        assert await self.counts(group) == {EventState.LEASED: 1}
        await harness.advance(harness.grain_us)
        assert await self.counts(group) == {EventState.READY: 1}


class DueReports:
    """Waits until the watcher of a topic is told what is due, from now on."""

    def __init__(self, topic: TopicDriver) -> None:
        self._topic = topic
        self._recorder = topic.harness.recorder
        self._recorder.forget()

    async def until_due_in(self, in_us: int, start_us: int, group: str = DEFAULT_GROUP) -> None:
        near = self._topic.harness.near(start_us + in_us)
        await self._recorder.until_due(self._topic.name, group, near, f"{group}: due in {in_us} us")

    async def until_due_now(self, group: str = DEFAULT_GROUP) -> None:
        harness = self._topic.harness
        await self._recorder.until_due(self._topic.name, group, lambda at_us: at_us <= harness.now_us(), "due now")
