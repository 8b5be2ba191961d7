"""The transactional outbox on Django's ORM: on PostgreSQL, MySQL 8, MariaDB 10.6, or on SQLite with one relay."""

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from datetime import datetime
from itertools import chain
from typing import Any

from django.conf import settings
from django.db import connections, router, transaction
from django.db.models import OuterRef, QuerySet, Subquery
from django.utils import timezone

from duebus._core.fields import Span
from duebus.client import Client
from duebus.integrations.django.models import OutboxRow, OutboxSlot
from duebus.integrations.outbox import (
    CHANNEL,
    MAX_ERROR,
    SLOTS,
    Relay,
    Row,
    first_free,
    idle_limit,
    new_row,
    share,
    up_to,
    wait_for_announcement,
)

__all__ = ["client_options", "dispatch", "relay"]


def client_options() -> dict[str, Any]:
    """The arguments of `Client`: the setting DUEBUS of the project."""
    return dict(getattr(settings, "DUEBUS", {}))


def dispatch(
    topic: str,
    data: Any,
    *,
    using: str | None = None,
    id: str = "",  # noqa: A002 - the event's field has this name
    delay: Span | None = None,
    at: datetime | None = None,
    attributes: Mapping[str, str] | None = None,
    content_type: str | None = None,
    max_retries: int | None = None,
    key: str = "",
    priority: int = 0,
) -> str:
    """Dispatch an event if, and when, the current transaction is committed; without one, at once.

    The arguments are those of `Client.dispatch`. A delay begins now.

    Args:
        topic: See there, like all but `using`.
        data: See there.
        using: The database of the transaction; None: the one to which the router writes the app's models.
        id: See there.
        delay: See there.
        at: See there.
        attributes: See there.
        content_type: See there.
        max_retries: See there.
        key: See there.
        priority: See there.

    Returns:
        The event's id.

    Raises:
        TypeError: an argument has the wrong type.
        InvalidArgument: an argument is malformed or out of its range; `field_violations` names it.
    """
    columns = new_row(
        topic,
        data,
        id=id,
        delay=delay,
        at=at,
        attributes=attributes,
        content_type=content_type,
        max_retries=max_retries,
        key=key,
        priority=priority,
    )
    alias = using or router.db_for_write(OutboxRow)
    OutboxRow.objects.using(alias).create(**columns | {"created_at": timezone.now()})
    connection = connections[alias]
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:  # which wakes the relays when the transaction is committed
            cursor.execute("SELECT pg_notify(%s, %s)", [CHANNEL, OutboxRow._meta.db_table])  # noqa: SLF001 - as documented
    return str(columns["event_id"])


def relay(client: Client, *, using: str | None = None, poll: Span = 1.0) -> Relay:
    """A relay for the rows, in a thread or a process of its own.

    Args:
        client: Sends the events. It is not closed.
        using: The database; None: as in `dispatch`.
        poll: How often to look for rows that were not announced: a timedelta or seconds.
    """
    return Relay(_Store(using or router.db_for_write(OutboxRow)), client, poll=poll)


class _Claim:
    """Rows that are claimed. On SQLite there is no transaction, so each change is committed at once."""

    def __init__(self, table: "QuerySet[Any]", topic: str | None, rows: Sequence[Row]) -> None:
        self.topic = topic
        self.rows = rows
        self._table = table

    def remove(self, ids: Sequence[int]) -> None:
        connection = connections[self._table.db]
        if connection.vendor != "mysql":
            self._table.filter(id__in=ids).delete()
            return
        # For a list of ids, MariaDB reads the whole table, and waits for rows that others have not committed.
        with connection.cursor() as cursor:
            cursor.executemany("DELETE FROM duebus_outbox WHERE id = %s", [(row_id,) for row_id in ids])

    def set_error(self, row_id: int, reason: str) -> None:
        self._table.filter(id=row_id).update(error=reason.replace("\0", "")[:MAX_ERROR])


class _Store:
    """The rows. A claim holds locks on rows of the slots' table, so writers of the outbox are never held up.

    SQLite has no such locks, so there may be one relay only.
    """

    def __init__(self, alias: str) -> None:
        self._alias = alias
        self._rows = OutboxRow.objects.using(alias)
        self._slots = OutboxSlot.objects.using(alias)
        self._listening: Any = None

    def prepare(self) -> None:
        connections[self._alias].close_if_unusable_or_obsolete()
        missing = set(range(SLOTS)).difference(self._slots.values_list("slot", flat=True))
        self._slots.bulk_create([OutboxSlot(slot=slot) for slot in sorted(missing)], ignore_conflicts=True)

    @contextmanager
    def claim(
        self,
        after: str,
        limit: int,
        size: int,
        except_topics: Sequence[str],
        except_slots: Sequence[tuple[str, int]],
    ) -> Iterator[_Claim]:
        connection = connections[self._alias]
        connection.close_if_unusable_or_obsolete()
        locks = connection.features.has_select_for_update
        with transaction.atomic(using=self._alias) if locks else nullcontext():
            if locks:
                # Else what is read after the locks could be older than they are, if the project has set another level.
                self._execute("SET TRANSACTION ISOLATION LEVEL READ COMMITTED")
            with idle_limit(connection.vendor, self._execute):
                topic = self._topic(after, except_topics)
                claimed = self._lock_slots(topic, except_slots) if topic else ()
                yield _Claim(self._rows, topic, self._read(topic, claimed, limit, size) if topic and claimed else [])

    def _topic(self, after: str, except_topics: Sequence[str]) -> str | None:
        """The next topic with rows. One that is left out is stepped over: a condition would read all of its rows."""
        topics = self._rows.order_by("topic").values_list("topic", flat=True)
        found: str | None = topics.filter(topic__gt=after).first()
        while found in except_topics:
            found = topics.filter(topic__gt=found).first()
        return found

    def _execute(self, statement: str) -> None:
        with connections[self._alias].cursor() as cursor:
            cursor.execute(statement)

    def _lock_slots(self, topic: str, except_slots: Sequence[tuple[str, int]]) -> Sequence[int]:
        """Lock slots that have rows and that no other relay has locked, those with the oldest rows first."""
        slot = OuterRef("slot")
        of_slot = self._rows.filter(topic=topic, error__isnull=True)
        of_slot = of_slot.filter(slot=slot) if self._by_equality() else of_slot.filter(slot__range=(slot, slot))
        slots = self._slots.exclude(slot__in=[slot for of_topic, slot in except_slots if of_topic == topic]).annotate(
            first=Subquery(of_slot.order_by("slot", "id").values("id")[:1])
        )
        found = [(first, slot) for slot, first in slots.values_list("slot", "first") if first is not None]
        lock = self._slots.select_for_update(skip_locked=True)
        return first_free(
            [slot for _, slot in sorted(found)],
            lambda slots: list(lock.filter(slot__in=slots).values_list("slot", flat=True)),
        )

    def _by_equality(self) -> bool:
        """Whether `=` finds the first rows of a slot: MariaDB would read all rows of the topic for a range.

        PostgreSQL in turn could read all rows in the order of their ids for `=`. A range to be sorted by slot and id
        makes it use the index.
        """
        return bool(connections[self._alias].vendor == "mysql")

    def _read(self, topic: str, slots: Sequence[int], limit: int, size: int) -> list[Row]:
        """Read rows until their events have so many bytes: first the sizes, as drivers fetch all that a query finds.

        Each slot is read by itself, because a query for several of them would sort all of their rows. In a UNION,
        SQLite takes a limit in a subquery only, which Django's querysets do not make.
        """
        by_slot = "slot = %s" if self._by_equality() else "slot BETWEEN %s AND %s"
        of_slot = (
            "SELECT * FROM (SELECT id, length(event) FROM duebus_outbox"  # noqa: S608 - one of two constants
            f" WHERE topic = %s AND {by_slot} AND error IS NULL ORDER BY slot, id LIMIT %s) AS of_slot"
        )
        sizes = f"{' UNION ALL '.join([of_slot] * len(slots))} ORDER BY id"
        values = ((topic, *[slot] * by_slot.count("%s"), share(limit, slots)) for slot in slots)
        with connections[self._alias].cursor() as cursor:
            cursor.execute(sizes, list(chain.from_iterable(values)))
            ids = up_to(size, cursor.fetchall())
        found = self._rows.filter(id__in=ids).order_by("id").values_list("id", "slot", "event")
        return [Row(number, slot, bytes(event)) for number, slot, event in found]

    def wait(self, timeout_s: float, stopped: threading.Event) -> None:
        if connections[self._alias].vendor != "postgresql":
            stopped.wait(timeout_s)
            return
        if self._listening is None:
            self._listening = connections[self._alias].copy()
            with self._listening.cursor() as cursor:  # without a transaction, so it is in force at once
                cursor.execute(f"LISTEN {CHANNEL}")
            return  # what was committed before is not announced
        try:
            wait_for_announcement(self._listening.connection, timeout_s, stopped)
        except BaseException:
            self._stop_listening()
            raise

    def close(self) -> None:
        self._stop_listening()
        connections[self._alias].close()

    def _stop_listening(self) -> None:
        if self._listening is not None:
            self._listening.close()
            self._listening = None
