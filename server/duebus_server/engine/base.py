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
    """Hears what an engine has to tell. Called on the event loop; must not block and must not raise."""

    def due(self, topic: str, group: str, at_us: int) -> None:
        """The group has something to lease at ``at_us`` (now, if that has passed). May come too often, and may be
        lost with a lost connection, so nobody relies on it alone.
        """

    def leases_ended(self, session_id: str, fencing_tokens: Sequence[int]) -> None:
        """The session no longer holds these leases: settled, expired, deleted, or moved to another session."""

    def died(self, topic: str, group: str, count: int, first_ids: Sequence[str]) -> None:
        """So many events of the group have become dead letters: nacked as such, out of retries, or not to be read.

        Each is told once, on the replica that saw it die, a call for all that died in one step; ``first_ids`` has ten
        of them at the most. Lost where the answer of the storage is lost.
        """

    def deleted(self, topic: str, group: str | None) -> None:
        """The group was deleted, or with None the topic with all its groups: what has subscribed to it must end.

        Comes after ``leases_ended`` for the leases that went with it, and on every replica. May be lost with a lost
        connection; a session then finds out when it leases next.
        """


class Engine(Protocol):
    """Keeps events and says who may hold them.

    Errors common to all verbs: DispatcherNotWorking when the engine is not started, is stopped, or its storage can't
    be reached; then nothing was changed, or, where the answer was lost on its way, the verb can be repeated safely.
    """

    name: EngineName

    @property
    def lease_token_key(self) -> bytes:
        """The secret that proves a lease token genuine; the same on all replicas of one bus."""

    async def start(self) -> None:
        """Be ready to work.

        Raises:
            DuplicateInitialized: it is started already.
        """

    async def stop(self) -> None:
        """Let go of connections and memory. Harmless when it is not started."""

    async def check(self) -> None:
        """Return if the engine works: it is started, and its storage answers."""

    def watch(self, watcher: Watcher) -> None:
        """Tell ``watcher`` from now on. One watcher an engine; set before ``start``."""

    def now_us(self) -> int:
        """The engine's clock: what due times and leases are judged by."""

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
        """Every lease that the session still holds expires ``grace_us`` from now at the latest."""

    async def expire_leases(self) -> None:
        """The safety net: in every group, leases that have run out end; their events are ready again, or dead when no
        retries are left. Also forgets what the dedupe window and the dead-letter retention have left behind.
        """

    async def next_due(self, topic: str, group: str) -> int | None:
        """When the group next has something to lease: the earliest due time or lease expiry, or None. None as well
        while the group is paused.
        """

    async def backlog(self, topic: str, group: str) -> int:
        """How many events of the group are ready and not leased."""

    # --- sessions ---------------------------------------------------------------------------------------------------

    async def join(self, topic: str, group: str, subscriber: SubscriberInfo) -> None:
        """A session subscribes; the group is created if need be. When this returns, nothing dispatched afterwards is
        missed by the group. The first group of a topic gets what was dispatched before it.
        """

    async def adopt(
        self, topic: str, group: str, session_id: str, leases: Sequence[LeaseRef], lease_us: int | None
    ) -> list[AdoptedLease | LeaseFailureReason]:
        """Move leases to a session that has joined, and renew them as ``extend`` does.

        Raises:
            NotFound: the session has not joined the group, or the group was deleted.
        """

    async def leave(self, topic: str, group: str, session_id: str) -> None:
        """The session is gone from the group. Its leases stay until they are settled or run out.

        Harmless when the engine is stopped: streams may end after it.
        """

    # --- what there is ----------------------------------------------------------------------------------------------

    async def queued(self) -> int:
        """How many events the engine holds, dead letters not counted."""

    async def config_of(self, topic: str) -> TopicConfig:
        """The settings in force for a topic, whether it exists yet or not."""

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
        """An event and its story in every group that is not done with it.

        Raises:
            NotFound: no such topic, or it does not hold the event.
        """

    # --- administration: topics and groups --------------------------------------------------------------------------

    async def configure_topic(self, topic: str, changes: TopicChanges) -> TopicConfig:
        """Change a topic's settings; the topic is made if need be. What is None in ``changes`` stays as it is, and what
        was never changed follows the defaults.

        In force on every replica within a second: for events dispatched from then on, and for each lease, retry and
        purge that is decided from then on, whenever the event came. A session that names a lease of its own keeps it.

        Returns:
            The settings in force.

        Raises:
            InvalidArgument: the settings contradict each other, or the engine can't have them; nothing was changed.
                ``partitions`` can be changed only while the topic holds no events.
        """

    async def configure_group(self, topic: str, group: str, changes: RetryPolicyChanges) -> TopicConfig:
        """Change the retry policy of one group; what was never changed follows the topic's. As ``configure_topic``.

        Returns:
            The settings in force for the group.

        Raises:
            NotFound: no such topic or group.
            InvalidArgument: the settings contradict each other; nothing was changed.
        """

    async def delete_topic(self, topic: str) -> int:
        """Remove a topic with its groups, events, settings, and what it remembers against duplicates. From then on it
        is unknown, its leases are SETTLED, and its subscribers have been told. A dispatch or ``join`` makes it anew.

        However many events it holds, others are not held up for long: their memory is given back little by little.

        Returns:
            How many events went with it, dead ones included.

        Raises:
            NotFound: no such topic.
        """

    async def delete_group(self, topic: str, group: str) -> int:
        """Remove a group, its retry policy and its copies of the events; those that no other group holds are gone, as
        if acked. As ``delete_topic`` otherwise.

        Returns:
            How many events were removed from the group, dead ones included.

        Raises:
            NotFound: no such topic or group.
        """

    async def pause_group(self, topic: str, group: str) -> None:
        """Hand out nothing to the group until it is resumed. Its leases stay, can be settled and run out; its sessions
        stay; what is dispatched waits. Harmless when it is paused already.

        Raises:
            NotFound: no such topic or group.
        """

    async def resume_group(self, topic: str, group: str) -> None:
        """End a pause, and tell the watcher at once what is due. Harmless when the group is not paused.

        Raises:
            NotFound: no such topic or group.
        """

    # --- administration: events -------------------------------------------------------------------------------------
    # Leases that have run out end first, as in `expire_leases`.

    async def cancel(self, topic: str, event_ids: Sequence[str], group: str | None) -> CancelAnswer:
        """Remove the copies of these events, each named once, that are scheduled or ready: in one group, or with None
        in every group, also where no group has claimed them yet. Copies that are leased or dead are left alone.

        Raises:
            NotFound: no such topic or group.
        """

    async def reschedule(self, topic: str, event_ids: Sequence[str], group: str | None, due: NewDueTime) -> int:
        """Move the due time of these events, each named once, all or none: in one group, or with None in every group
        that holds them, also where no group has claimed them yet. Attempts are counted on.

        Returns:
            How many events were moved.

        Raises:
            NotFound: no such topic or group, or it does not hold one of the events.
            ConcurrentModification: a copy is leased or dead; its event, group and state are in the metadata.
        """

    async def redrive(
        self, topic: str, group: str, chosen: DeadLetterFilter, step: DeadLetterStep
    ) -> DeadLetterProgress:
        """One step: dead letters that the filter chooses wait again, with all their retries; ``step.due_us`` says when
        they are due. Their last error and the attempts made so far stay part of their story.

        They count as queued again, also beyond ``max_queued``. An empty group means the default one, or the events
        that no group has claimed, of which none are dead.

        Raises:
            NotFound: no such topic or group.
            InvalidArgument: the step's cursor is not one of this engine's.
        """

    async def purge(self, topic: str, group: str, chosen: DeadLetterFilter, step: DeadLetterStep) -> DeadLetterProgress:
        """One step: dead letters that the filter chooses are removed. As ``redrive``."""
