"""The contract that every engine keeps.

An engine is a set of verbs of the domain, all of them on batches. Each verb moves events along arrows of
``domain.states`` in one atomic step: a crash before or after it leaves every event in exactly one state, and there is
no in-between. The suite ``tests/engine_contract`` is this page as tests, and every engine passes it unchanged.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from duebus_server.domain.administration import (
        CancelAnswer,
        DeadLetterFilter,
        DeadLetterProgress,
        DeadLetterStep,
        NewDueTime,
        RetryPolicyChanges,
        TopicChanges,
    )
    from duebus_server.domain.errors import DueBusError
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
        SubscriberInfo,
    )
    from duebus_server.domain.views import EventInfo, EventPage, EventQuery, TopicConfig, TopicInfo


class Watcher(Protocol):
    """Told what happens in an engine. Called on the event loop; must not block and must not raise."""

    def due(self, topic: str, group: str, at_us: int) -> None:
        """The group has something to lease at ``at_us``, or now if that has passed. May be called too often, and may be
        missed when a connection breaks, so nothing relies on it alone.
        """

    def leases_ended(self, session_id: str, fencing_tokens: Sequence[int]) -> None:
        """The session no longer holds these leases: settled, expired, deleted, or moved to another session."""

    def died(self, topic: str, group: str, count: int, first_ids: Sequence[str]) -> None:
        """Events of the group have become dead letters: nacked as such, out of retries, or unreadable.

        Each event is reported once, on the replica that made it a dead letter, with one call for all events of a step;
        ``first_ids`` has at most ten of them. Missed if the storage's answer is lost.
        """

    def deleted(self, topic: str, group: str | None) -> None:
        """The group was deleted, or with None the topic with all its groups. Its streams have to end.

        Called on every replica, after ``leases_ended`` for its leases. May be missed when a connection breaks; a
        session then finds out at its next lease.
        """


class Engine(Protocol):
    """Stores events and decides who holds them.

    Every verb raises DispatcherNotWorking when the engine is not started, is stopped, or its storage can't be reached.
    Then nothing was changed; if only the answer was lost, the verb can be repeated safely.
    """

    name: EngineName

    @property
    def lease_token_key(self) -> bytes:
        """The secret that lease tokens are signed with; the same on all replicas of one bus."""

    async def start(self) -> None:
        """Be ready to work.

        Raises:
            DuplicateInitialized: it is started already.
        """

    async def stop(self) -> None:
        """Release connections and memory. Harmless if it is not started."""

    async def check(self) -> None:
        """Return if the engine is started and its storage answers; raise DispatcherNotWorking otherwise."""

    def watch(self, watcher: Watcher) -> None:
        """Set the watcher. An engine has one; it is set before ``start``."""

    def now_us(self) -> int:
        """The engine's clock, by which delays and leases are measured, in microseconds since the Unix epoch."""

    # --- the life of an event ---------------------------------------------------------------------------------------

    async def dispatch(self, topic: str, requests: Sequence[DispatchRequest]) -> list[DispatchAnswer | DueBusError]:
        """Store the events of each request in every group of the topic, due when they say.

        Each request is stored wholly or not at all; the answers are in request order. A ``request_id`` that was seen
        within the dedupe window returns its first answer, if the request has the same ``identity``; an event id that
        the topic holds or held within it adds nothing and is reported. A topic without groups keeps the events for the
        first group that joins.

        Returns:
            For each request its answer, or why nothing of it was stored: MaxQueuedEventsReached, NoHandlerFound;
            RequestIdReused when its ``request_id`` was used for other events.
        """

    async def lease(self, topic: str, group: str, session_id: str, request: LeaseRequest) -> LeaseBatch:
        """Hand due events to a session that has joined the group, the longest due first, each under a new lease.

        Never early by the engine's clock. Each lease gets a fencing token that is greater than the last one of the same
        event, and at least the engine's time in microseconds; so tokens grow across restarts and deletions, unless the
        clock is set back. Expired leases of the group run out first, as in ``expire_leases``. A
        group that is paused hands out nothing.

        Raises:
            NotFound: the session has not joined the group, or the group or the topic was deleted.
        """

    async def ack(self, topic: str, group: str, leases: Sequence[LeaseRef]) -> list[LeaseFailureReason | None]:
        """The events are done; the group no longer holds them. None for each that was carried out."""

    async def nack(self, topic: str, group: str, nacks: Sequence[NackRef]) -> list[LeaseFailureReason | None]:
        """Give events back: to be retried, dead or released. None for each that was carried out."""

    async def extend(
        self, topic: str, group: str, leases: Sequence[LeaseRef], lease_us: int | None
    ) -> list[LeaseFailureReason | None]:
        """The leases expire ``lease_us`` from now (None: the topic's lease). None for each that was carried out."""

    async def shorten(self, topic: str, group: str, session_id: str, grace_us: int) -> None:
        """Every lease that the session still holds expires at the latest ``grace_us`` from now."""

    async def expire_leases(self) -> None:
        """The safety net: end expired leases in every group. Their events are ready again, or dead if no retries are
        left. Also forget ids after the dedupe window, and purge dead letters after their retention.
        """

    async def backlog(self, topic: str, group: str) -> int:
        """How many events of the group are ready."""

    # --- sessions ---------------------------------------------------------------------------------------------------

    async def join(self, topic: str, group: str, subscriber: SubscriberInfo) -> None:
        """A session subscribes; the group is created if it does not exist. The group gets every event that is
        dispatched after this returns. The first group of a topic also gets what was dispatched before.
        """

    async def adopt(
        self, topic: str, group: str, session_id: str, leases: Sequence[LeaseRef], lease_us: int | None
    ) -> list[AdoptedLease | LeaseFailureReason]:
        """Move leases to a session that has joined, and renew them as ``extend`` does.

        Raises:
            NotFound: the session has not joined the group, or the group was deleted.
        """

    async def leave(self, topic: str, group: str, session_id: str) -> None:
        """The session leaves the group. Its leases stay until they are settled or expire.

        Harmless if the engine is stopped, since streams may end after it.
        """

    # --- what there is ----------------------------------------------------------------------------------------------

    async def queued(self) -> int:
        """How many events the engine holds, without dead letters."""

    async def config_of(self, topic: str) -> TopicConfig:
        """The settings in force for a topic, which need not exist."""

    async def list_topics(self, after: str, limit: int) -> list[TopicInfo]:
        """Up to ``limit`` topics whose names come after ``after``, by name."""

    async def get_topic(self, topic: str) -> TopicInfo:
        """One topic.

        Raises:
            NotFound: no such topic.
        """

    async def list_events(self, topic: str, query: EventQuery) -> EventPage:
        """A page of a group's events in one state.

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
        """Change a topic's settings; the topic is created if it does not exist. What is None in ``changes`` stays as it
        is, and what was never changed follows the defaults.

        Every replica applies the changes within a second, to events dispatched from then on, and to leases, retries and
        purges of all events from then on. A session that asked for a lease of its own keeps it.

        Returns:
            The settings in force.

        Raises:
            InvalidArgument: the settings contradict each other, or the engine can't have them; nothing was changed.
                ``partitions`` can be changed only while the topic holds no events.
        """

    async def configure_group(self, topic: str, group: str, changes: RetryPolicyChanges) -> TopicConfig:
        """Change the retry policy of one group, as ``configure_topic`` does. What was never changed follows the topic.

        Returns:
            The settings in force for the group.

        Raises:
            NotFound: no such topic or group.
            InvalidArgument: the settings contradict each other; nothing was changed.
        """

    async def delete_topic(self, topic: str) -> int:
        """Remove a topic with its groups, events, settings, and the ids that it remembers. From then on it is unknown,
        its leases are SETTLED, and its subscribers have been told. A dispatch or ``join`` creates it again.

        However many events it holds, others are not held up for long: the memory is released in pieces.

        Returns:
            How many events were removed, dead ones included.

        Raises:
            NotFound: no such topic.
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
        """Lease nothing to the group until it is resumed. Its sessions and leases stay, and leases can be settled and
        expire. What is dispatched waits. Harmless if it is paused already.

        Raises:
            NotFound: no such topic or group.
        """

    async def resume_group(self, topic: str, group: str) -> None:
        """End a pause, and tell the watcher what is due. Harmless if the group is not paused.

        Raises:
            NotFound: no such topic or group.
        """

    # --- administration: events -------------------------------------------------------------------------------------
    # Expired leases end first, as in `expire_leases`.

    async def cancel(self, topic: str, event_ids: Sequence[str], group: str | None) -> CancelAnswer:
        """Remove the copies of these events that are scheduled or ready, in one group, or with None in every group, and
        where no group has claimed them yet. Copies that are leased or dead stay. Each event is named once.

        Raises:
            NotFound: no such topic or group.
        """

    async def reschedule(self, topic: str, event_ids: Sequence[str], group: str | None, due: NewDueTime) -> int:
        """Change the due time of these events, all or none, in one group, or with None in every group that holds them,
        and where no group has claimed them yet. Attempts stay counted. Each event is named once.

        Returns:
            How many events were moved.

        Raises:
            NotFound: no such topic or group, or it does not hold one of the events.
            ConcurrentModification: a copy is leased or dead; its event, group and state are in the metadata.
        """

    async def redrive(
        self, topic: str, group: str, chosen: DeadLetterFilter, step: DeadLetterStep
    ) -> DeadLetterProgress:
        """One step: dead letters that the filter selects wait again, with all their retries; ``step.due_us`` says when
        they are due. They keep their last error and their history.

        They count as queued again, even beyond ``max_queued``. An empty group means the default one, or the events
        that no group has claimed, of which none are dead.

        Raises:
            NotFound: no such topic or group.
            InvalidArgument: the step's cursor is not one of this engine's.
        """

    async def purge(self, topic: str, group: str, chosen: DeadLetterFilter, step: DeadLetterStep) -> DeadLetterProgress:
        """One step: dead letters that the filter selects are removed. As ``redrive`` otherwise."""
