# Made from _aio/admin.py by generate_sync.py. Change that one.
"""Inspects and administers the bus, for threads."""

from collections.abc import Iterable, Iterator
from datetime import datetime

from duebus._core import admin_calls
from duebus._core.admin_model import (
    Cancelled,
    EventInfo,
    KeyInfo,
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
from duebus._core.limits import KeyPolicy, Limits
from duebus._sync.connection import Connection


class AdminClient:
    """The admin calls of a client: `client.admin`.

    An `engine` of None is the server's default engine, an empty `group` is "default". Every method raises NotFound for
    a topic, group or event that the engine does not have, besides the errors of every call.

    Calls that only read, `configure_topic`, `pause_group` and `resume_group` are retried if the server is unavailable.
    The others are not, because the answer to a retry would not say what the first try did.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def list_topics(
        self, *, engine: Engine | str | None = None, page_size: int = 0, timeout: Span | None = None
    ) -> Iterator[TopicInfo]:
        """All topics by name, fetched page by page.

        Args:
            engine: The engine.
            page_size: How many to fetch at a time, 1 to 1000; 0 means 100.
            timeout: How long fetching one page may take; None: the client's.
        """
        page_token, more = "", True
        while more:
            page = self.list_topics_page(engine=engine, page_size=page_size, page_token=page_token, timeout=timeout)
            for topic in page.items:
                yield topic
            page_token, more = page.next_page_token, bool(page.next_page_token)

    def list_topics_page(
        self,
        *,
        engine: Engine | str | None = None,
        page_size: int = 0,
        page_token: str = "",
        timeout: Span | None = None,
    ) -> Page[TopicInfo]:
        """One page of the topics by name.

        Args:
            engine: The engine.
            page_size: 1 to 1000; 0 means 100.
            page_token: `next_page_token` of the previous page; empty for the first.
            timeout: How long it may take; None: the client's.
        """
        call = admin_calls.list_topics(engine=engine, page_size=page_size, page_token=page_token)
        return self._connection.run(call, timeout)

    def get_topic(self, topic: str, *, engine: Engine | str | None = None, timeout: Span | None = None) -> TopicInfo:
        """One topic: its settings, and for each group the counts, subscribers, age and rates."""
        return self._connection.run(admin_calls.get_topic(topic, engine=engine), timeout)

    def list_events(
        self,
        topic: str,
        state: EventState | str,
        *,
        group: str = "",
        key: str = "",
        engine: Engine | str | None = None,
        newest_first: bool = False,
        page_size: int = 0,
        timeout: Span | None = None,
    ) -> Iterator[EventInfo]:
        """All events of a group in one state, fetched page by page.

        Args:
            topic: The topic.
            state: The state. The order is by due time (scheduled, ready, blocked), lease expiry (leased) or death
                (dead).
            group: The group. While the topic has none, empty means the events that wait for the first one.
            key: Only events with this key; empty: any.
            engine: The engine that holds them.
            newest_first: Latest first instead of earliest first.
            page_size: How many to fetch at a time, 1 to 1000; 0 means 100.
            timeout: How long fetching one page may take; None: the client's.
        """
        page_token, more = "", True
        while more:
            page = self.list_events_page(
                topic,
                state,
                group=group,
                key=key,
                engine=engine,
                newest_first=newest_first,
                page_size=page_size,
                page_token=page_token,
                timeout=timeout,
            )
            for event in page.items:
                yield event
            page_token, more = page.next_page_token, bool(page.next_page_token)

    def list_events_page(
        self,
        topic: str,
        state: EventState | str,
        *,
        group: str = "",
        key: str = "",
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
            key: As in `list_events`. A page may then have fewer events, or none, although more follow.
            engine: As in `list_events`.
            newest_first: As in `list_events`.
            page_size: 1 to 1000; 0 means 100.
            page_token: `next_page_token` of the previous page, with the same arguments; empty for the first.
            timeout: How long it may take; None: the client's.
        """
        call = admin_calls.list_events(
            topic,
            state,
            group=group,
            key=key,
            engine=engine,
            newest_first=newest_first,
            page_size=page_size,
            page_token=page_token,
        )
        return self._connection.run(call, timeout)

    def list_keys(
        self,
        topic: str,
        *,
        group: str = "",
        engine: Engine | str | None = None,
        page_size: int = 0,
        timeout: Span | None = None,
    ) -> Iterator[KeyInfo]:
        """The keys of a group of which an event is ready, leased, blocked or waits for its retry, or that are held.

        They are fetched page by page, those with the most blocked events first. A key that moves meanwhile may come
        twice, or not at all.

        Args:
            topic: The topic.
            group: The group. While the topic has none, empty means the events that wait for the first one.
            engine: The engine that holds them.
            page_size: How many to fetch at a time, 1 to 1000; 0 means 100.
            timeout: How long fetching one page may take; None: the client's.
        """
        page_token, more = "", True
        while more:
            page = self.list_keys_page(
                topic, group=group, engine=engine, page_size=page_size, page_token=page_token, timeout=timeout
            )
            for key in page.items:
                yield key
            page_token, more = page.next_page_token, bool(page.next_page_token)

    def list_keys_page(
        self,
        topic: str,
        *,
        group: str = "",
        engine: Engine | str | None = None,
        page_size: int = 0,
        page_token: str = "",
        timeout: Span | None = None,
    ) -> Page[KeyInfo]:
        """One page of the keys of a group.

        Args:
            topic: As in `list_keys`.
            group: As in `list_keys`.
            engine: As in `list_keys`.
            page_size: 1 to 1000; 0 means 100.
            page_token: `next_page_token` of the previous page, with the same arguments; empty for the first.
            timeout: How long it may take; None: the client's.
        """
        call = admin_calls.list_keys(topic, group=group, engine=engine, page_size=page_size, page_token=page_token)
        return self._connection.run(call, timeout)

    def get_event(
        self, topic: str, event_id: str, *, engine: Engine | str | None = None, timeout: Span | None = None
    ) -> EventInfo:
        """One event: its state in each group that is not done with it, attempts, errors and times."""
        return self._connection.run(admin_calls.get_event(topic, event_id, engine=engine), timeout)

    def configure_topic(
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
        limits: Limits | None = None,
        keys: KeyPolicy | None = None,
        engine: Engine | str | None = None,
        timeout: Span | None = None,
    ) -> TopicConfig:
        """Changes settings of a topic, or those that a group has of its own. None keeps a setting. Creates a missing
        topic.

        Within a second, the changes apply on every replica to events that are dispatched, and to every lease, retry and
        purge. Durations are timedeltas or seconds.

        Args:
            topic: The topic.
            group: If not empty, the retry policy, `limits` and `keys` are changed for this group alone. What was never
                set for it, or was removed, follows the topic. The other settings must then be None.
            max_retries: How many times an event is retried before it is dead, unless it sets its own number; 0 to
                1,000,000.
            backoff_initial: The backoff before the first retry, 1 ms to 30 days. It doubles with each retry.
            backoff_max: The longest backoff, 1 ms to 30 days, and not less than `backoff_initial`.
            lease: How long a delivery is leased unless the subscriber sets its own lease, 100 ms to 12 h.
            max_queued: How many events may be scheduled, ready, blocked or leased; 0 means unlimited. Of one key, a
                tenth of it may be blocked.
            dead_letter_retention: How long dead letters are kept before they are purged; 0 means forever.
            dedupe_window: How long request ids, and the ids of events that are gone, are remembered, 0 to 7 days.
            partitions: How many partitions the events are spread over, 1 to 64. It can be changed only while the topic
                holds no events and has no schedules, and not on the local engine.
            limits: How many deliveries of a group may be under way at once, and begin in a time. They replace the
                previous ones as a whole; `Limits()` removes them. Not on a topic of several partitions.
            keys: How a group handles events with the same key. It replaces the previous policy as a whole;
                `KeyPolicy()` removes it.
            engine: The engine that holds it.
            timeout: How long it may take, including retries; None: the client's.

        Returns:
            The settings now in force, for the group if one was named.

        Raises:
            InvalidArgument: a setting is out of range or contradicts another; nothing was changed.
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
            limits=limits,
            keys=keys,
            engine=engine,
        )
        return self._connection.run(call, timeout)

    def delete_topic(self, topic: str, *, engine: Engine | str | None = None, timeout: Span | None = None) -> Removed:
        """Removes a topic, its groups and all its events, including dead ones. Its subscriptions end.

        Args:
            topic: The topic; dispatching to it creates it again.
            engine: The engine that holds it.
            timeout: How long it may take; None: as long as it takes.
        """
        return self._connection.run(admin_calls.delete_topic(topic, engine=engine), timeout)

    def delete_group(
        self, topic: str, group: str, *, engine: Engine | str | None = None, timeout: Span | None = None
    ) -> Removed:
        """Removes a group and its copies of the events, including dead ones. Its subscriptions end.

        Args:
            topic: The topic.
            group: The group; subscribing to it creates it again.
            engine: The engine that holds it.
            timeout: How long it may take; None: as long as it takes.
        """
        return self._connection.run(admin_calls.delete_group(topic, group, engine=engine), timeout)

    def pause_group(
        self, topic: str, group: str = "", *, engine: Engine | str | None = None, timeout: Span | None = None
    ) -> None:
        """Delivers nothing to a group until it is resumed.

        Subscribers stay connected, events keep waiting, and leases stay. Pausing twice is not an error.

        Args:
            topic: The topic.
            group: The group.
            engine: The engine that holds it.
            timeout: How long it may take, including retries; None: the client's.
        """
        self._connection.run(admin_calls.pause_group(topic, group, engine=engine), timeout)

    def resume_group(
        self, topic: str, group: str = "", *, engine: Engine | str | None = None, timeout: Span | None = None
    ) -> None:
        """Ends a pause; what became due meanwhile is delivered. Resuming a group that is not paused is not an error.

        Args:
            topic: The topic.
            group: The group.
            engine: The engine that holds it.
            timeout: How long it may take, including retries; None: the client's.
        """
        self._connection.run(admin_calls.resume_group(topic, group, engine=engine), timeout)

    def cancel(
        self,
        topic: str,
        event_ids: Iterable[str] | str = (),
        *,
        key: str = "",
        group: str = "",
        engine: Engine | str | None = None,
        timeout: Span | None = None,
    ) -> Cancelled:
        """Removes scheduled, ready and blocked events. Leased and dead copies are left alone and reported.

        Args:
            topic: The topic.
            event_ids: 1 to 1000; none if a key is given.
            key: All events with this key, in several steps: an interrupted call has removed some of them, and can be
                repeated.
            group: The group; empty: every group.
            engine: The engine that holds them.
            timeout: How long it may take; None: the client's.
        """
        return self._connection.run(admin_calls.cancel(topic, event_ids, key=key, group=group, engine=engine), timeout)

    def reschedule(
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
        """Moves the due time of scheduled, ready or blocked events, all or none. One of `delay` and `at` is required.

        Attempts keep counting. An event with a key no longer holds up the others of the key.

        Args:
            topic: The topic.
            event_ids: 1 to 1000.
            delay: How long from now they are due, by the server's clock: a timedelta or seconds, 0 to 10 years.
            at: When they are due, as an aware datetime at most 10 years ahead; a past time means now.
            group: The group; empty: every group.
            engine: The engine that holds them.
            timeout: How long it may take; None: the client's.

        Raises:
            ConcurrentModification: one of them is leased or dead; nothing was changed.
        """
        call = admin_calls.reschedule(topic, event_ids, delay=delay, at=at, group=group, engine=engine)
        return self._connection.run(call, timeout)

    def redrive(
        self,
        topic: str,
        *,
        group: str = "",
        event_ids: Iterable[str] | str | None = None,
        error_contains: str | None = None,
        min_age: Span | None = None,
        key: str | None = None,
        rate: float = 0.0,
        engine: Engine | str | None = None,
        timeout: Span | None = None,
    ) -> Redriven:
        """Makes dead letters ready again, with all their retries: those that meet every condition, or all without one.

        Events that die during the call stay dead. Many are moved in several steps, the longest dead first: an
        interrupted call has moved some of them, and can be repeated.

        Args:
            topic: The topic.
            group: The group.
            event_ids: Only these, at most 1000; None: any. An empty list is refused, because it may be a mistake; so
                is an empty `error_contains` or `key`.
            error_contains: Only those whose last error contains this text, of at most 4 KiB; None: any.
            min_age: Only those that have been dead for at least this long: a timedelta or seconds, 0 to 10 years.
            key: Only those with this key; None: any.
            rate: Events a second, 0.001 to 1,000,000; 0 means all at once. The call does not wait: events that are not
                due yet are scheduled.
            engine: The engine that holds them.
            timeout: How long it may take; None: as long as it takes.
        """
        call = admin_calls.redrive(
            topic,
            group=group,
            event_ids=event_ids,
            error_contains=error_contains,
            min_age=min_age,
            key=key,
            rate=rate,
            engine=engine,
        )
        return self._connection.run(call, timeout)

    def purge(
        self,
        topic: str,
        *,
        group: str = "",
        event_ids: Iterable[str] | str | None = None,
        error_contains: str | None = None,
        min_age: Span | None = None,
        key: str | None = None,
        engine: Engine | str | None = None,
        timeout: Span | None = None,
    ) -> Purged:
        """Removes dead letters for good: those that meet every condition, or all without one. In steps, as `redrive`.

        Args:
            topic: The topic.
            group: The group.
            event_ids: As in `redrive`.
            error_contains: As in `redrive`.
            min_age: As in `redrive`.
            key: As in `redrive`.
            engine: The engine that holds them.
            timeout: How long it may take; None: as long as it takes.
        """
        call = admin_calls.purge(
            topic,
            group=group,
            event_ids=event_ids,
            error_contains=error_contains,
            min_age=min_age,
            key=key,
            engine=engine,
        )
        return self._connection.run(call, timeout)
