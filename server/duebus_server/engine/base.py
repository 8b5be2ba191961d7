"""The contract that every engine keeps.

An engine is a set of domain verbs, all of them on batches. Each verb moves events along arrows of ``domain.states`` in
one atomic step: a crash leaves every event in exactly one state. What happens in an engine it reports to its
``Watcher``. The suite ``tests/engine_contract`` tests both, and every engine passes it unchanged.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from duebus_server.domain.clock import SECOND

if TYPE_CHECKING:
    from collections.abc import Sequence

    from duebus_server.domain.actions import Action
    from duebus_server.domain.administration import (
        CancelAnswer,
        DeadLetterFilter,
        DeadLetterProgress,
        DeadLetterStep,
        GroupChanges,
        NewDueTime,
        TopicChanges,
    )
    from duebus_server.domain.engine_info import EngineInfo
    from duebus_server.domain.errors import DueBusError
    from duebus_server.domain.minutes import MinuteOfTopic
    from duebus_server.domain.model import (
        AdoptedLease,
        DispatchAnswer,
        DispatchRequest,
        EngineName,
        LeaseBatch,
        LeaseFailureReason,
        LeaseRef,
        LeaseRequest,
        NackRef,
        Refill,
        Reservation,
        SubscriberInfo,
    )
    from duebus_server.domain.schedules import DueSchedules, Firing, FiringOutcome, ScheduleRecord
    from duebus_server.domain.views import (
        EventInfo,
        EventPage,
        EventQuery,
        KeyPage,
        KeyQuery,
        TopicConfig,
        TopicInfo,
    )
    from duebus_server.engine.watcher import Watcher


WORK_AHEAD_US = 30 * SECOND
"""What may begin within this time counts as work: about as long as it takes to start a worker."""


StorageTimer = Callable[[str, float], None]
"""Receives what was done in the storage, such as ``write``, and how many seconds it took. Called on the event loop."""


def untimed(_operation: str, _seconds: float) -> None:
    """The timer of an engine that nobody times."""


class Engine(Protocol):
    """Stores events and decides who holds them.

    Every verb raises DispatcherNotWorking if the engine is not started, is stopped, or its storage can't be reached.
    Nothing was changed then, or only the answer was lost and the verb can be repeated safely.
    """

    name: EngineName

    @property
    def lease_token_key(self) -> bytes:
        """The secret that lease tokens are signed with; the same on all replicas of one bus."""

    async def start(self) -> None:
        """Start the engine.

        Raises:
            DuplicateInitialized: it is already started.
        """

    async def stop(self) -> None:
        """Stop the engine and release its connections and memory. Harmless if it is not started."""

    async def check(self) -> None:
        """Return if the engine is started and its storage answers; otherwise raise DispatcherNotWorking."""

    def watch(self, watcher: Watcher) -> None:
        """Set the engine's one watcher, before ``start``."""

    def now_us(self) -> int:
        """The engine's clock, by which delays and leases are measured, in microseconds since the Unix epoch."""

    def wall_us(self) -> int:
        """The clock of ``NewEvent.deliver_at_us`` and of schedules, in microseconds since the Unix epoch. It may jump
        when it is set.
        """

    def time_storage(self, timed: StorageTimer) -> None:
        """Time each write and sync of the journal, and each script in Redis, from ``start`` on."""

    def partitions(self, topic: str) -> int:
        """How many partitions the topic has, as far as this replica knows; 1 where topics have none. One call works on
        all of them at the same time.
        """

    # --- the life of an event ---------------------------------------------------------------------------------------

    async def dispatch(
        self, topic: str, requests: Sequence[DispatchRequest], reservations: Sequence[Reservation] = ()
    ) -> list[DispatchAnswer | DueBusError]:
        """Store the events of each request in every group of the topic.

        Each request is stored completely or not at all; the answers are in request order. A ``request_id`` that was
        seen within the dedupe window returns its first answer, if the request has the same ``identity``; an event id
        that the topic holds or held within it adds nothing and is reported. A topic without a lasting group keeps the
        events for the first one, beside the copies of its ephemeral groups. An event counts for ``max_queued`` while it
        waits in a lasting group, or for the first one.

        Of the events with the same key, each group gets one at a time, in order of due time and then of dispatch: the
        first that is due is READY, those that are due after it are BLOCKED. The first one stays first from its lease
        on, through retries, releases and expired leases, until it is acked, dead, cancelled or rescheduled; that step
        makes the next one READY. An event that is not due yet and was never leased blocks none. ``KeyPolicy`` says how
        a group can handle its keys otherwise: several of a key at once, at a rate, or none until a dead letter is
        redriven. What its key does not let through is BLOCKED.

        Events that are due at once are handed over where a session has reserved room: stored and leased to it in one
        step, as by ``lease``, by priority and then in the order of the requests, until one does not fit. An engine may
        go request by request, and by priority within each.
        The group hands over nothing while it is paused, or while something older is due that the session may take; no
        more than its limits allow; and no event that its key does not let through. ``Watcher.leased`` reports what was
        leased. What was not reported when the call fails or is cancelled is taken back by the session's next lease at
        the latest.

        Args:
            topic: the topic.
            requests: what to store.
            reservations: room of sessions that have joined, at most one for each group; of others it is ignored. The
                session must not lease or leave before the call ends.

        Returns:
            For each request its answer, or why nothing of it was stored: MaxQueuedEventsReached, also if more than
            ``max_blocked`` events of one key would be BLOCKED in a lasting group; NoHandlerFound; or RequestIdReused if
            its ``request_id`` was used for other events.
        """

    async def lease(self, topic: str, group: str, session_id: str, request: LeaseRequest) -> LeaseBatch:
        """Hand due events to a session that has joined the group, the longest due first, each under a new lease. An
        event with a priority counts as due so many seconds earlier; it is not handed out before it is due.

        Never early by the engine's clock. Each lease gets a fencing token that is greater than the last one of the same
        event, and of the same key, and at least the engine's time in microseconds; so tokens grow across restarts and
        deletions, unless the clock is set back. Expired leases of the group end first, as in ``expire_leases``. A
        paused group hands out nothing.

        The limits of the group hold over all replicas: of the leases that have not ended, there are at most
        ``max_in_flight``, and no more begin than the rate allows. A pause that a nack began holds too. ``next_due_us``
        of the answer is when they allow more: nobody needs to ask before.

        BLOCKED events cost it nothing. Of the events with a key that become due together, at most a thousand are moved
        in one step; those that are left hold up no events with other keys or without one.

        At most one of the events is a suspect, and none unless the request is ``with_suspect``. Suspects that are left
        hold up no other events.

        Raises:
            NotFound: the session has not joined the group, or the group or the topic was deleted.
        """

    async def ack(
        self, topic: str, group: str, leases: Sequence[LeaseRef], refill: Refill | None = None
    ) -> list[LeaseFailureReason | None]:
        """Remove events that are done from the group. Returns None for each, or why its lease was not settled.

        If all of them are settled, due events are leased to a session that has reserved the room, in the same step, as
        by ``lease``; where a topic has several partitions, in each of them. ``Watcher.leased`` reports them, after
        ``Watcher.leases_ended``. What was not reported when the call fails or is cancelled is taken back, at the latest
        by the session's next lease.

        Args:
            topic: the topic.
            group: the group.
            leases: of the events that are done.
            refill: the room of a session that has joined; of any other it is ignored. The session must not lease or
                leave before the call ends.
        """

    async def nack(self, topic: str, group: str, nacks: Sequence[NackRef]) -> list[LeaseFailureReason | None]:
        """Give events back, to be retried, dead or released. Returns as ``ack``.

        One that is released is refunded: it no longer counts for the rates. A pause lasts until the latest end that any
        nack has asked for. An event that is ready again while its key is paused, or has used up its rate, waits for
        that, in front of the others of its key where they are in order. A pause of the key of an event that has none,
        or in a group that ignores keys, is NO_KEY; nothing was changed then.
        """

    async def extend(
        self, topic: str, group: str, leases: Sequence[LeaseRef], lease_us: int | None
    ) -> list[LeaseFailureReason | None]:
        """Make leases expire ``lease_us`` from now (None: the topic's lease). Returns as ``ack``."""

    async def shorten(self, topic: str, group: str, session_id: str, grace_us: int) -> None:
        """Make every lease that the session still holds expire at most ``grace_us`` from now."""

    async def expire_leases(self) -> None:
        """End expired leases in every group, as a safety net. Their events are ready again, or dead if no retries are
        left. The first ``FREE_EXPIRIES`` expired leases of an event use up no retry; then it is a suspect. A lease that
        was given to a stalled session uses up none either.

        Also report when the first schedule is due, forget ids after the dedupe window, purge dead letters after their
        retention, and remove ephemeral groups that nobody has come back to; see ``leave``.
        """

    async def backlog(self, topic: str, group: str) -> int:
        """How many events of the group are ready."""

    async def work(self, groups: Sequence[tuple[str, str]]) -> list[int]:
        """How many events of each group, given as topic and group, need a worker: those that are leased, and of those
        that are ready, as many as its limits let begin within ``WORK_AHEAD_US``, or none if it is paused. A key that
        waits for its rate, or for the end of a pause, has one ready if it opens within that time. An empty
        group name stands for what waits for the first group. 0 if there is no such group.
        """

    # --- sessions ---------------------------------------------------------------------------------------------------

    async def join(self, topic: str, group: str, subscriber: SubscriberInfo) -> bool:
        """Subscribe a session; the group is created if it does not exist. The group gets every event that is dispatched
        after this returns. The first lasting group of a topic also gets what was dispatched before; an ephemeral group
        never does.

        Returns:
            Whether every delivery counts for a limit of the group; see ``TopicConfig.is_limited``.

        Raises:
            InvalidArgument: the group lasts and the session asks for an ephemeral one, or vice versa. Nothing
                was changed.
        """

    async def adopt(
        self, topic: str, group: str, session_id: str, leases: Sequence[LeaseRef], lease_us: int | None
    ) -> list[AdoptedLease | LeaseFailureReason]:
        """Move leases to a session that has joined, and renew them as ``extend`` does.

        Raises:
            NotFound: the session has not joined the group, or the group was deleted.
        """

    async def leave(self, topic: str, group: str, session_id: str, returns_in_us: int = 0) -> None:
        """Take a session out of the group. Its leases stay until they are settled or expire.

        An ephemeral group without sessions is removed by a sweep, as by ``delete_group``, once every session that left
        has been away for its ``ephemeral_us`` and no lease lasts. A session that joins before keeps it.

        Harmless if the engine is stopped, since streams may end after it.

        Args:
            topic: the topic.
            group: the group.
            session_id: the session.
            returns_in_us: the subscriber was asked to reconnect after this; its ``ephemeral_us`` begins then.
        """

    # --- inspection -------------------------------------------------------------------------------------------------

    async def queued(self) -> int:
        """How many events the engine holds, dead letters not counted."""

    async def describe(self) -> EngineInfo:
        """Who serves the engine, and the state of what it stores events in."""

    async def keep_action(self, action: Action) -> None:
        """Keep what an operator did. An engine keeps the latest ``KEPT_ACTIONS``: those of all replicas, or of this
        process until it ends.
        """

    async def actions(self) -> list[Action]:
        """What operators did, the latest first."""

    def fair_share(self, streams: int | None) -> int:
        """How many streams each replica should have, rounded up, as far as this one knows.

        Args:
            streams: how many this one has; None: it takes none any more, so it has no share. The others know a second
                later.
        """

    async def config_of(self, topic: str) -> TopicConfig:
        """The settings in force for a topic, which need not exist."""

    async def list_topics(self, after: str, limit: int) -> list[TopicInfo]:
        """Up to ``limit`` topics whose names come after ``after``, by name."""

    async def get_topic(self, topic: str) -> TopicInfo:
        """One topic.

        Raises:
            NotFound: no such topic.
        """

    async def minutes(self, topic: str) -> list[MinuteOfTopic]:
        """What a topic and each group that it has did in the last ``KEPT_MINUTES``: the minutes in which something
        happened, oldest first. This is a statistic: an engine may lose some counts when a process dies or the storage
        fails, and the counts of other replicas may be late. Of an unknown topic there are none.
        """

    async def list_events(self, topic: str, query: EventQuery) -> EventPage:
        """A page of a group's events in one state. With ``query.key``, at most ``EXAMINED_AT_ONCE`` are examined for
        it, so it may have few or none although more follow.

        Raises:
            NotFound: no such topic or group.
            InvalidArgument: the cursor is not one of this engine's.
        """

    async def list_keys(self, topic: str, query: KeyQuery) -> KeyPage:
        """A page of a group's keys that have an event which is READY, LEASED, BLOCKED or waits for its retry, or that a
        dead letter holds: those with the most BLOCKED events first. A key that moves meanwhile may be on two pages, or
        on none.

        Of a group with more than about 10,000 keys, an engine may show only some: among them those of a sample of the
        blocked events, so that a key with many of these is not missed.

        Raises:
            NotFound: no such topic or group.
            InvalidArgument: the cursor is not one of this engine's.
        """

    async def get_event(self, topic: str, event_id: str) -> EventInfo:
        """An event and its history in every group that is not done with it.

        Raises:
            NotFound: no such topic, or it does not hold the event.
        """

    # --- administration: topics and groups --------------------------------------------------------------------------

    async def configure_topic(self, topic: str, changes: TopicChanges) -> TopicConfig:
        """Change a topic's settings; the topic is created if it does not exist. A setting that is None in ``changes``
        stays as it is; one that was never changed follows the defaults.

        Within a second, every replica applies the changes to events that are dispatched, and to the leases, retries and
        purges of all events. A session that asked for its own lease duration keeps it.

        Returns:
            The settings now in force.

        Raises:
            InvalidArgument: the settings contradict each other, or the engine can't have them; nothing was changed.
                ``partitions`` can be changed only while the topic holds no events and has no schedules, and a topic
                with several has no ``limits``.
        """

    async def configure_group(self, topic: str, group: str, changes: GroupChanges) -> TopicConfig:
        """Change the settings of one group, as ``configure_topic`` does. Unchanged settings follow the topic.

        What is READY or LEASED stays so, even if more is than a new key policy allows. What is BLOCKED under the old
        one comes in under the new one, in steps.

        Returns:
            The settings now in force for the group.

        Raises:
            NotFound: no such topic or group.
            InvalidArgument: the settings contradict each other, or the topic has several partitions and so no
                ``limits``; nothing was changed.
        """

    async def delete_topic(self, topic: str) -> int:
        """Remove a topic with its groups, events, settings and remembered ids. Afterwards it is unknown, its leases are
        SETTLED, and its subscribers have been notified. A dispatch or ``join`` creates it again.

        Other calls never wait long for this, however many events it holds: the memory is released in pieces.

        Returns:
            How many events were removed, dead ones included.

        Raises:
            NotFound: no such topic.
            TopicHasSchedules: there are schedules for it; nothing was changed.
        """

    async def delete_group(self, topic: str, group: str) -> int:
        """Remove a group, its retry policy and its copies of the events, as ``delete_topic`` does. Events that no other
        group holds are gone, as if they were acked.

        Returns:
            How many events were removed from the group, dead ones included.

        Raises:
            NotFound: no such topic or group.
        """

    async def pause_group(self, topic: str, group: str) -> None:
        """Lease nothing to the group until it is resumed. Its sessions and leases stay; leases can be settled and still
        expire. Dispatched events wait. Harmless if it is already paused.

        Raises:
            NotFound: no such topic or group.
        """

    async def resume_group(self, topic: str, group: str) -> None:
        """End a pause, and report what is due to the watcher. Harmless if the group is not paused.

        Raises:
            NotFound: no such topic or group.
        """

    # --- administration: events -------------------------------------------------------------------------------------
    # Expired leases end first, as in `expire_leases`.

    async def cancel(self, topic: str, event_ids: Sequence[str], group: str | None) -> CancelAnswer:
        """Remove the scheduled, ready and blocked copies of these events, in one group or, with None, in every group
        and among the unclaimed events. Leased and dead copies stay. Each event is named once.

        Raises:
            NotFound: no such topic or group.
        """

    async def reschedule(self, topic: str, event_ids: Sequence[str], group: str | None, due: NewDueTime) -> int:
        """Change the due time of these events, all or none, in one group or, with None, in every group that holds them
        and among the unclaimed events. Attempts stay counted. Each event is named once.

        Returns:
            How many events were moved.

        Raises:
            NotFound: no such topic or group, or it does not hold one of the events.
            ConcurrentModification: a copy is leased or dead; its event, group and state are in the metadata.
        """

    async def redrive(
        self, topic: str, group: str, chosen: DeadLetterFilter, step: DeadLetterStep
    ) -> DeadLetterProgress:
        """Redrive dead letters that the filter selects, in one step: they are due at ``step.due_us``, with all their
        retries, and are not suspects. They keep their last error and their history. One that holds its key comes before
        all others of the key.

        They count as queued again, even beyond ``max_queued``. An empty group means the default one, or the unclaimed
        events, none of which are dead.

        Raises:
            NotFound: no such topic or group.
            InvalidArgument: the step's cursor is not one of this engine's.
        """

    async def purge(self, topic: str, group: str, chosen: DeadLetterFilter, step: DeadLetterStep) -> DeadLetterProgress:
        """Remove dead letters that the filter selects, in one step, as ``redrive`` does. One that holds its key opens
        it.
        """

    # --- schedules --------------------------------------------------------------------------------------------------

    async def save_schedule(self, record: ScheduleRecord, replaces: int, most: int) -> bool:
        """Store a schedule in place of its version ``replaces``; 0 is none. The engine sets the new version.

        Args:
            record: all of it, counters included.
            replaces: the version that it was made from.
            most: how many schedules the engine may have.

        Returns:
            Whether it is stored. If not, the schedule has another version, is gone, or exists; nothing was changed.

        Raises:
            TopicHasSchedules: the stored one has another topic; nothing was changed.
            InvalidArgument: it is new, and the engine has ``most`` already; nothing was changed.
        """

    async def get_schedule(self, name: str) -> ScheduleRecord:
        """One schedule.

        Raises:
            NotFound: there is none of this name.
        """

    async def list_schedules(self, after: str, limit: int) -> list[ScheduleRecord]:
        """Of the schedules whose names come after ``after``, by name, those that ``domain.schedules.for_one_answer``
        chooses.
        """

    async def delete_schedule(self, name: str) -> None:
        """Remove a schedule. Its events stay.

        Raises:
            NotFound: there is none of this name.
        """

    async def due_schedules(self, limit: int) -> DueSchedules:
        """Schedules that are due by the engine's wall clock, of all topics; no more than
        ``domain.schedules.for_one_answer`` chooses.
        """

    async def fire_schedules(self, firings: Sequence[Firing]) -> list[FiringOutcome]:
        """Fire schedules, each in one step: its event is dispatched, and it moves on to its next time, with its
        counters, unless it has another version than ``Firing.record``, is not due, or its topic is full. So of several
        replicas that fire it at the same time, one does.

        The event is dispatched as by ``dispatch``; one whose id the topic knows adds nothing. With an overlap other
        than ALLOW, it is dispatched only if earlier events are finished, in the same step.

        Args:
            firings: of any topics, no schedule twice.

        Returns:
            The outcomes, in the order of the firings.
        """
