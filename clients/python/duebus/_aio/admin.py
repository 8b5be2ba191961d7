"""What the bus holds, and how it is changed, for asyncio."""

from collections.abc import AsyncIterator, Iterable
from datetime import datetime

from duebus._aio.connection import Connection
from duebus._core import admin_calls
from duebus._core.admin_model import (
    Cancelled,
    EventInfo,
    Page,
    Purged,
    Redriven,
    Removed,
    Rescheduled,
    TopicConfig,
    TopicInfo,
)
from duebus._core.enums import Engine, EventState
from duebus._core.fields import Span


class AdminClient:
    """The admin calls of a client: `client.admin`.

    `engine` is None for the server's default engine, `group` empty for "default". Every method raises NotFound for
    a topic, group or event that the engine does not have, and otherwise what all calls raise.

    Calls that look, `configure_topic`, `pause_group` and `resume_group` are repeated when the server is unavailable.
    The others are not: a second answer would not say what the first try did.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def list_topics(
        self, *, engine: Engine | str | None = None, page_size: int = 0, timeout: Span | None = None
    ) -> AsyncIterator[TopicInfo]:
        """All topics by name, fetched page by page.

        Args:
            engine: Whose topics.
            page_size: How many to fetch at a time, 1 to 1000; 0 means 100.
            timeout: How long fetching one page may take; None: the client's.
        """
        page_token, more = "", True
        while more:
            page = await self.list_topics_page(
                engine=engine, page_size=page_size, page_token=page_token, timeout=timeout
            )
            for topic in page.items:
                yield topic
            page_token, more = page.next_page_token, bool(page.next_page_token)

    async def list_topics_page(
        self,
        *,
        engine: Engine | str | None = None,
        page_size: int = 0,
        page_token: str = "",
        timeout: Span | None = None,
    ) -> Page[TopicInfo]:
        """One page of the topics by name.

        Args:
            engine: Whose topics.
            page_size: 1 to 1000; 0 means 100.
            page_token: `next_page_token` of the page before; empty for the first.
            timeout: How long it may take; None: the client's.
        """
        call = admin_calls.list_topics(engine=engine, page_size=page_size, page_token=page_token)
        return await self._connection.run(call, timeout)

    async def get_topic(
        self, topic: str, *, engine: Engine | str | None = None, timeout: Span | None = None
    ) -> TopicInfo:
        """One topic: its settings, and for each group the counts, subscribers, age and rates."""
        return await self._connection.run(admin_calls.get_topic(topic, engine=engine), timeout)

    async def list_events(
        self,
        topic: str,
        state: EventState | str,
        *,
        group: str = "",
        engine: Engine | str | None = None,
        newest_first: bool = False,
        page_size: int = 0,
        timeout: Span | None = None,
    ) -> AsyncIterator[EventInfo]:
        """All events of a group in one state, fetched page by page.

        Args:
            topic: The topic.
            state: In which state; the order is by due time (scheduled, ready), lease expiry (leased), death (dead).
            group: The group; while the topic has none yet, empty means the events that wait for the first one.
            engine: Which engine holds them.
            newest_first: Latest time first, in place of earliest.
            page_size: How many to fetch at a time, 1 to 1000; 0 means 100.
            timeout: How long fetching one page may take; None: the client's.
        """
        page_token, more = "", True
        while more:
            page = await self.list_events_page(
                topic,
                state,
                group=group,
                engine=engine,
                newest_first=newest_first,
                page_size=page_size,
                page_token=page_token,
                timeout=timeout,
            )
            for event in page.items:
                yield event
            page_token, more = page.next_page_token, bool(page.next_page_token)

    async def list_events_page(
        self,
        topic: str,
        state: EventState | str,
        *,
        group: str = "",
        engine: Engine | str | None = None,
        newest_first: bool = False,
        page_size: int = 0,
        page_token: str = "",
        timeout: Span | None = None,
    ) -> Page[EventInfo]:
        """One page of the events of a group in one state.

        Args:
            topic: As in `list_events`.
            state: As in `list_events`.
            group: As in `list_events`.
            engine: As in `list_events`.
            newest_first: As in `list_events`.
            page_size: 1 to 1000; 0 means 100.
            page_token: `next_page_token` of the page before, with the same arguments; empty for the first.
            timeout: How long it may take; None: the client's.
        """
        call = admin_calls.list_events(
            topic,
            state,
            group=group,
            engine=engine,
            newest_first=newest_first,
            page_size=page_size,
            page_token=page_token,
        )
        return await self._connection.run(call, timeout)

    async def get_event(
        self, topic: str, event_id: str, *, engine: Engine | str | None = None, timeout: Span | None = None
    ) -> EventInfo:
        """One event: its state in each group that is not done with it, attempts, errors and times."""
        return await self._connection.run(admin_calls.get_event(topic, event_id, engine=engine), timeout)

    async def configure_topic(
        self,
        topic: str,
        *,
        group: str = "",
        max_retries: int | None = None,
        backoff_initial: Span | None = None,
        backoff_max: Span | None = None,
        lease: Span | None = None,
        max_queued: int | None = None,
        dead_letter_retention: Span | None = None,
        dedupe_window: Span | None = None,
        partitions: int | None = None,
        engine: Engine | str | None = None,
        timeout: Span | None = None,
    ) -> TopicConfig:
        """Changes settings of a topic, or the retry policy of a group; None keeps one. Creates the topic if need be.

        In force on every replica within a second, for events dispatched from then on, and for each lease, retry and
        purge that is decided from then on. Lengths of time are timedeltas or seconds.

        Args:
            topic: The topic.
            group: Not empty: the retry policy is that of this group alone, and follows the topic's in what was never
                set; the other settings must then be None.
            max_retries: How often an event is retried before it is dead, unless it says; 0 to 1,000,000.
            backoff_initial: The backoff before the first retry, 1 ms to 30 days; it doubles from then on.
            backoff_max: The longest backoff, 1 ms to 30 days, and not less than `backoff_initial`.
            lease: How long a delivery is leased where the subscriber does not say, 100 ms to 12 h.
            max_queued: How many events may wait, be leased or be scheduled; 0 means unlimited.
            dead_letter_retention: Dead letters are purged this long after they died; 0 means never.
            dedupe_window: For how long a request id and the id of an event that is gone are remembered, 0 to 7 days.
            partitions: Over how many parts of the storage the events are spread, 1 to 64. Can be changed only while the
                topic holds no events, and on the local engine not at all.
            engine: Which engine holds it.
            timeout: How long it may take with all its tries; None: the client's.

        Returns:
            The settings now in force, for the group if one was named.

        Raises:
            InvalidArgument: a setting is out of range or contradicts another, and is named; nothing was changed.
            NotFound: there is no such group.
        """
        call = admin_calls.configure_topic(
            topic,
            group=group,
            max_retries=max_retries,
            backoff_initial=backoff_initial,
            backoff_max=backoff_max,
            lease=lease,
            max_queued=max_queued,
            dead_letter_retention=dead_letter_retention,
            dedupe_window=dedupe_window,
            partitions=partitions,
            engine=engine,
        )
        return await self._connection.run(call, timeout)

    async def delete_topic(
        self, topic: str, *, engine: Engine | str | None = None, timeout: Span | None = None
    ) -> Removed:
        """Removes a topic, its groups and all its events, dead ones included. Its subscriptions end.

        Args:
            topic: The topic; dispatching to it makes it anew.
            engine: Which engine holds it.
            timeout: How long it may take; None: as long as it takes.
        """
        return await self._connection.run(admin_calls.delete_topic(topic, engine=engine), timeout)

    async def delete_group(
        self, topic: str, group: str, *, engine: Engine | str | None = None, timeout: Span | None = None
    ) -> Removed:
        """Removes a group and its copies of the events, dead ones included. Its subscriptions end.

        Args:
            topic: The topic.
            group: The group; subscribing to it makes it anew.
            engine: Which engine holds it.
            timeout: How long it may take; None: as long as it takes.
        """
        return await self._connection.run(admin_calls.delete_group(topic, group, engine=engine), timeout)

    async def pause_group(
        self, topic: str, group: str = "", *, engine: Engine | str | None = None, timeout: Span | None = None
    ) -> None:
        """Delivers nothing to a group until it is resumed.

        Subscribers stay connected, events go on waiting, leases stay. Pausing twice is not an error.

        Args:
            topic: The topic.
            group: The group.
            engine: Which engine holds it.
            timeout: How long it may take with all its tries; None: the client's.
        """
        await self._connection.run(admin_calls.pause_group(topic, group, engine=engine), timeout)

    async def resume_group(
        self, topic: str, group: str = "", *, engine: Engine | str | None = None, timeout: Span | None = None
    ) -> None:
        """Ends a pause; what became due meanwhile is delivered. Resuming a group that is not paused is not an error.

        Args:
            topic: The topic.
            group: The group.
            engine: Which engine holds it.
            timeout: How long it may take with all its tries; None: the client's.
        """
        await self._connection.run(admin_calls.resume_group(topic, group, engine=engine), timeout)

    async def cancel(
        self,
        topic: str,
        event_ids: Iterable[str] | str,
        *,
        group: str = "",
        engine: Engine | str | None = None,
        timeout: Span | None = None,
    ) -> Cancelled:
        """Removes scheduled or ready events. Copies of them that are leased or dead are left alone and reported.

        Args:
            topic: The topic.
            event_ids: 1 to 1000.
            group: In which group; empty: in every group.
            engine: Which engine holds them.
            timeout: How long it may take; None: the client's.
        """
        return await self._connection.run(admin_calls.cancel(topic, event_ids, group=group, engine=engine), timeout)

    async def reschedule(
        self,
        topic: str,
        event_ids: Iterable[str] | str,
        *,
        delay: Span | None = None,
        at: datetime | None = None,
        group: str = "",
        engine: Engine | str | None = None,
        timeout: Span | None = None,
    ) -> Rescheduled:
        """Moves the due time of scheduled or ready events; all or none. One of `delay` and `at` is required.

        Attempts are counted on.

        Args:
            topic: The topic.
            event_ids: 1 to 1000.
            delay: When they are due, from the moment the server stores it: a timedelta or seconds, 0 to 10 years.
            at: When they are due, as an aware datetime at most 10 years ahead; one in the past means at once.
            group: In which group; empty: in every group.
            engine: Which engine holds them.
            timeout: How long it may take; None: the client's.

        Raises:
            ConcurrentModification: one of them is leased or dead; nothing was changed.
        """
        call = admin_calls.reschedule(topic, event_ids, delay=delay, at=at, group=group, engine=engine)
        return await self._connection.run(call, timeout)

    async def redrive(
        self,
        topic: str,
        *,
        group: str = "",
        event_ids: Iterable[str] | str | None = None,
        error_contains: str = "",
        min_age: Span | None = None,
        rate: float = 0.0,
        engine: Engine | str | None = None,
        timeout: Span | None = None,
    ) -> Redriven:
        """Makes dead letters ready again, with all their retries: those that fit every condition, or else all.

        What dies during the call is left dead. Many are moved in several steps: a call that is broken off has moved
        some of them, the longest dead first, and can be made again.

        Args:
            topic: The topic.
            group: The group.
            event_ids: Only these, at most 1000; None: any. An empty list is refused: it may have been meant as none.
            error_contains: Only those whose last error contains this text, of at most 4 KiB.
            min_age: Only those that have been dead for at least this long: a timedelta or seconds, 0 to 10 years.
            rate: Spread over time, so many events a second, 0.001 to 1,000,000; 0 means all at once. The call does not
                wait for it: what is not due yet is scheduled.
            engine: Which engine holds them.
            timeout: How long it may take; None: as long as it takes.
        """
        call = admin_calls.redrive(
            topic,
            group=group,
            event_ids=event_ids,
            error_contains=error_contains,
            min_age=min_age,
            rate=rate,
            engine=engine,
        )
        return await self._connection.run(call, timeout)

    async def purge(
        self,
        topic: str,
        *,
        group: str = "",
        event_ids: Iterable[str] | str | None = None,
        error_contains: str = "",
        min_age: Span | None = None,
        engine: Engine | str | None = None,
        timeout: Span | None = None,
    ) -> Purged:
        """Removes dead letters for good: those that fit every condition, or else all. In steps, as `redrive`.

        Args:
            topic: The topic.
            group: The group.
            event_ids: As in `redrive`.
            error_contains: As in `redrive`.
            min_age: As in `redrive`.
            engine: Which engine holds them.
            timeout: How long it may take; None: as long as it takes.
        """
        call = admin_calls.purge(
            topic, group=group, event_ids=event_ids, error_contains=error_contains, min_age=min_age, engine=engine
        )
        return await self._connection.run(call, timeout)
