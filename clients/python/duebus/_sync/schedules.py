# Made from _aio/schedules.py by generate_sync.py. Change that one.
"""Schedules: rules that dispatch an event again and again, for threads."""

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from duebus._core import schedule_calls
from duebus._core.admin_model import Page
from duebus._core.enums import Engine
from duebus._core.fields import Span
from duebus._core.schedule_calls import EventFields, Policy, Rule
from duebus._core.schedule_model import CatchUp, Overlap, Preview, ScheduleInfo
from duebus._sync.connection import Connection


class ScheduleClient:
    """The schedules of a client: `client.schedules`.

    An `engine` of None is the server's default engine. Every method that names a schedule raises NotFound if there is
    none, besides the errors of every call. All but `delete` are retried if the server is unavailable.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def put(
        self,
        name: str,
        topic: str,
        data: Any,
        *,
        cron: str | None = None,
        every: Span | None = None,
        zone: str = "",
        attributes: Mapping[str, str] | None = None,
        content_type: str | None = None,
        max_retries: int | None = None,
        key: str = "",
        priority: int = 0,
        start: datetime | None = None,
        end: datetime | None = None,
        max_runs: int = 0,
        jitter: Span | None = None,
        overlap: Overlap | str = Overlap.ALLOW,
        catch_up: CatchUp | str = CatchUp.LAST,
        catch_up_window: Span | None = None,
        paused: bool = False,
        note: str = "",
        engine: Engine | str | None = None,
        timeout: Span | None = None,
    ) -> ScheduleInfo:
        """Creates a schedule, or replaces the one of this name. An equal one changes nothing.

        Each firing dispatches an event with the id NAME@TIME, for example `report@2026-11-30T08:00:00Z`: the nominal
        time in UTC. Its attributes also have `duebus-schedule` and `duebus-scheduled-for`, the name and that time.

        Args:
            name: `[A-Za-z0-9][A-Za-z0-9._-]{0,199}`.
            topic: Where its events go. It can't be changed.
            data: See NewEvent, as for `attributes`, `content_type`, `max_retries`, `key` and `priority`.
            cron: Five fields, such as `0 9 * * MON-FRI`, or six with the second in front. This or `every`.
            every: The period, 1 s to 366 days: a timedelta or seconds. Counted from `start`, else from 1970.
            zone: The time zone of `cron`, such as `Europe/Berlin`; empty: UTC.
            attributes: See NewEvent.
            content_type: See NewEvent.
            max_retries: See NewEvent.
            key: See NewEvent.
            priority: See NewEvent.
            start: The first moment at which it may fire; None: no limit.
            end: The last moment at which it may fire; None: no limit.
            max_runs: It ends after so many firings; 0: no limit.
            jitter: Each firing is up to this much later than its nominal time, up to 24 h; None: not at all.
            overlap: What happens while an earlier event is unfinished.
            catch_up: What happens to nominal times that passed while nothing could fire.
            catch_up_window: How long ago they may be with CatchUp.ALL, 1 s to 31 days; None: 1 h.
            paused: Whether it is paused, if it is new.
            note: For people, at most 1,000 bytes.
            engine: The engine.
            timeout: How long it may take; None: the client's.

        Returns:
            The schedule as it is stored now.

        Raises:
            InvalidArgument: The rule can't be read or never fires, or another field is wrong.
            TopicHasSchedules: It exists, with another topic.
        """
        event = EventFields(
            data=data,
            attributes=attributes,
            content_type=content_type,
            max_retries=max_retries,
            key=key,
            priority=priority,
        )
        policy = Policy(
            max_runs=max_runs,
            jitter=jitter,
            overlap=overlap,
            catch_up=catch_up,
            catch_up_window=catch_up_window,
            paused=paused,
            note=note,
        )
        rule = Rule(cron=cron, every=every, zone=zone, start=start, end=end)
        call = schedule_calls.put(name, topic, event, rule, policy, engine=engine)
        return self._connection.run(call, timeout)

    def get(self, name: str, *, engine: Engine | str | None = None, timeout: Span | None = None) -> ScheduleInfo:
        """One schedule: when it fires next, and what it has done."""
        return self._connection.run(schedule_calls.get(name, engine=engine), timeout)

    def list(
        self, *, engine: Engine | str | None = None, page_size: int = 0, timeout: Span | None = None
    ) -> Iterator[ScheduleInfo]:
        """All schedules by name, fetched page by page.

        Args:
            engine: The engine.
            page_size: How many to fetch at a time, 1 to 1000; 0 means 100.
            timeout: How long fetching one page may take; None: the client's.
        """
        page_token, more = "", True
        while more:
            page = self.list_page(engine=engine, page_size=page_size, page_token=page_token, timeout=timeout)
            for each in page.items:
                yield each
            page_token, more = page.next_page_token, bool(page.next_page_token)

    def list_page(
        self,
        *,
        engine: Engine | str | None = None,
        page_size: int = 0,
        page_token: str = "",
        timeout: Span | None = None,
    ) -> Page[ScheduleInfo]:
        """One page of the schedules by name.

        Args:
            engine: The engine.
            page_size: 1 to 1000; 0 means 100.
            page_token: `next_page_token` of the previous page; empty for the first.
            timeout: How long it may take; None: the client's.
        """
        call = schedule_calls.list_page(engine=engine, page_size=page_size, page_token=page_token)
        return self._connection.run(call, timeout)

    def delete(self, name: str, *, engine: Engine | str | None = None, timeout: Span | None = None) -> None:
        """Removes a schedule. Events that it has dispatched stay."""
        self._connection.run(schedule_calls.delete(name, engine=engine), timeout)

    def pause(self, name: str, *, engine: Engine | str | None = None, timeout: Span | None = None) -> None:
        """Stops a schedule from firing until it is resumed. Pausing one that is paused is not an error."""
        self._connection.run(schedule_calls.pause(name, engine=engine), timeout)

    def resume(self, name: str, *, engine: Engine | str | None = None, timeout: Span | None = None) -> None:
        """Ends a pause. What would have fired while it was paused is not made up for."""
        self._connection.run(schedule_calls.resume(name, engine=engine), timeout)

    def trigger(
        self,
        name: str,
        *,
        request_id: str | None = None,
        engine: Engine | str | None = None,
        timeout: Span | None = None,
    ) -> str:
        """Dispatches the event of a schedule once, now, also while it is paused.

        Args:
            name: The schedule.
            request_id: Makes the call safe to repeat; None: a new one.
            engine: The engine.
            timeout: How long it may take; None: the client's.

        Returns:
            The event's id.
        """
        call = schedule_calls.trigger(name, request_id=request_id, engine=engine)
        return self._connection.run(call, timeout)

    def backfill(
        self,
        name: str,
        start: datetime,
        end: datetime,
        *,
        request_id: str | None = None,
        engine: Engine | str | None = None,
        timeout: Span | None = None,
    ) -> tuple[str, ...]:
        """Dispatches an event for each nominal time of a schedule between two moments, all now; all or none.

        Args:
            name: The schedule.
            start: Nominal times from here on.
            end: Nominal times before this.
            request_id: Makes the call safe to repeat; None: a new one.
            engine: The engine.
            timeout: How long it may take; None: the client's.

        Returns:
            The events' ids.

        Raises:
            InvalidArgument: There are more than 1,000 nominal times.
        """
        call = schedule_calls.backfill(name, start, end, request_id=request_id, engine=engine)
        return self._connection.run(call, timeout)

    def preview(
        self,
        *,
        cron: str | None = None,
        every: Span | None = None,
        zone: str = "",
        start: datetime | None = None,
        end: datetime | None = None,
        count: int = 10,
        after: datetime | None = None,
        timeout: Span | None = None,
    ) -> Preview:
        """When a rule would fire. Nothing is stored.

        Args:
            cron: As in `put`, like the others.
            every: As in `put`.
            zone: As in `put`.
            start: As in `put`.
            end: As in `put`.
            count: How many times, 1 to 1000.
            after: The times after this moment; None: now.
            timeout: How long it may take; None: the client's.
        """
        rule = Rule(cron=cron, every=every, zone=zone, start=start, end=end)
        return self._connection.run(schedule_calls.preview(rule, count=count, after=after), timeout)
