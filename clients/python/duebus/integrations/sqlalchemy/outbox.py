"""The transactional outbox on SQLAlchemy 2: on PostgreSQL, MySQL 8, MariaDB 10.6, or on SQLite with one relay.

outbox = Outbox(Base.metadata)

with Session(engine) as session, session.begin():
    session.add(order)
    outbox.dispatch(session, "order.created", {"id": order.id}, key=f"order-{order.id}")
"""

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    ColumnElement,
    Connection,
    DateTime,
    Engine,
    Executable,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    SmallInteger,
    String,
    Table,
    Text,
    and_,
    bindparam,
    delete,
    event,
    func,
    insert,
    select,
    text,
    union_all,
    update,
)
from sqlalchemy.dialects.mysql import DATETIME, LONGBLOB
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession, async_scoped_session
from sqlalchemy.orm import Session, registry, scoped_session

from duebus._core.fields import Span
from duebus.client import Client
from duebus.integrations.outbox import (
    CHANNEL,
    MAX_ERROR,
    MYSQL,
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

__all__ = ["MOMENT", "Outbox"]

MOMENT = DateTime(timezone=True).with_variant(DATETIME(fsp=6), *MYSQL)
"""The type of a moment. MySQL and MariaDB keep it in UTC, without a zone."""

_STATEMENT_BYTES = 4 << 20
_STATEMENT_ROWS = 1_000
"""The most that one statement inserts. MariaDB takes 16 MiB by default, in which a byte may take two."""

_UTF8: dict[str, Any] = {f"{dialect}_collate": "utf8mb4_bin" for dialect in MYSQL}
"""How a table keeps text on MySQL and MariaDB, whatever the database's default is. Topics differ by case."""

AnySession = Session | AsyncSession | scoped_session[Any] | async_scoped_session[Any]


class Outbox:
    """The two tables of an outbox, which the program's migrations create as they do its own.

    Args:
        metadata: What the tables are added to, so that `create_all` and Alembic see them.
        name: The table of rows. That of the slots is called `NAME_slot`.
    """

    def __init__(self, metadata: MetaData, *, name: str = "duebus_outbox") -> None:
        self.table = Table(
            name,
            metadata,
            Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True),
            Column("event_id", String(255), nullable=False),
            Column("topic", String(255), nullable=False),
            Column("slot", SmallInteger, nullable=False),
            Column("event", LargeBinary().with_variant(LONGBLOB, *MYSQL), nullable=False),
            Column("created_at", MOMENT, nullable=False),
            Column("error", Text, nullable=True),
            Index(f"{name}_by_topic", "topic", "slot", "id"),
            sqlite_autoincrement=True,  # else an id is used again, and a relay could remove a row that it has not sent
            **_UTF8,
        )
        self.slots = Table(
            f"{name}_slot", metadata, Column("slot", SmallInteger, primary_key=True, autoincrement=False)
        )
        self._row = type("OutboxRow", (), {})
        registry(metadata=metadata).map_imperatively(self._row, self.table)

    def dispatch(
        self,
        session: AnySession,
        topic: str,
        data: Any,
        *,
        id: str = "",  # noqa: A002 - the event's field has this name
        delay: Span | None = None,
        at: datetime | None = None,
        attributes: Mapping[str, str] | None = None,
        content_type: str | None = None,
        max_retries: int | None = None,
        key: str = "",
        priority: int = 0,
    ) -> str:
        """Dispatch an event if, and when, the session's transaction is committed.

        The arguments are those of `Client.dispatch`. A delay begins now. Nothing is awaited: an AsyncSession writes the
        row with its other changes.

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
        row = self._row()
        for name, value in columns.items():
            setattr(row, name, value)
        own = _sync(session)
        if not event.contains(own, "after_flush", self._announce):
            event.listen(own, "before_flush", self._limit_statements)
            event.listen(own, "after_flush", self._announce)
        own.add(row)
        return str(columns["event_id"])

    def relay(self, engine: Engine, client: Client, *, poll: Span = 1.0) -> Relay:
        """A relay for the rows, in a thread or a process of its own.

        Args:
            engine: The database. Programs with an AsyncEngine make an Engine for it. On PostgreSQL with psycopg 3.2,
                rows are announced, on a connection besides those of the pool; elsewhere they are found by polling.
            client: Sends the events. It is not closed.
            poll: How often to look for rows that were not announced: a timedelta or seconds.

        Raises:
            TypeError: the engine is for asyncio.
        """
        if engine.dialect.is_async:
            raise TypeError("engine: expected one that is not for asyncio, from create_engine")
        return Relay(_Store(engine, self.table, self.slots), client, poll=poll)

    def _limit_statements(self, session: Session, *_: Any) -> None:
        """Before a flush: on MariaDB, SQLAlchemy inserts up to 1,000 rows in one statement, whatever their size is."""
        sizes = (len(each.event) for each in session.new if isinstance(each, self._row))  # type: ignore[attr-defined]
        rows = _STATEMENT_BYTES // max(sizes, default=1)
        if rows < _STATEMENT_ROWS:
            connection = session.connection(bind_arguments={"mapper": self._row})
            if connection.dialect.name in MYSQL:
                connection.execution_options(insertmanyvalues_page_size=max(1, rows))

    def _announce(self, session: Session, _context: Any) -> None:
        """Once a flush has written rows: wake the relays when the transaction is committed."""
        if any(isinstance(each, self._row) for each in session.new):
            connection = session.connection(bind_arguments={"mapper": self._row})
            # A transaction that is prepared can't announce anything: its rows are found by polling.
            if connection.dialect.name == "postgresql" and not session.twophase:
                connection.execute(select(func.pg_notify(CHANNEL, self.table.name)))


def _sync(session: AnySession) -> Session:
    """The session that writes: an AsyncSession and a scoped session each pass on to one."""
    own: Session | AsyncSession = session() if isinstance(session, scoped_session | async_scoped_session) else session
    return own.sync_session if isinstance(own, AsyncSession) else own


class _Claim:
    """Rows that are claimed. On SQLite each change is committed at once: a transaction would lock the database."""

    def __init__(self, connection: Connection, table: Table, topic: str | None, rows: Sequence[Row]) -> None:
        self.topic = topic
        self.rows = rows
        self._connection = connection
        self._table = table

    def remove(self, ids: Sequence[int]) -> None:
        if self._connection.dialect.name not in MYSQL:
            self._write(delete(self._table).where(self._table.c.id.in_(ids)))
            return
        # For a list of ids, MariaDB reads the whole table, and waits for rows that others have not committed.
        one = delete(self._table).where(self._table.c.id == bindparam("sent"))
        self._connection.execute(one, [{"sent": row_id} for row_id in ids])

    def set_error(self, row_id: int, reason: str) -> None:
        cleaned = reason.replace("\0", "")[:MAX_ERROR]
        self._write(update(self._table).where(self._table.c.id == row_id).values(error=cleaned))

    def _write(self, statement: Executable) -> None:
        self._connection.execute(statement)
        if self._connection.dialect.name == "sqlite":
            self._connection.commit()


class _Store:
    """The rows. A claim holds locks on rows of the slots' table, so writers of the outbox are never held up.

    SQLite has no such locks, so there may be one relay only.
    """

    def __init__(self, engine: Engine, table: Table, slots: Table) -> None:
        # With MySQL's default level, what is read after the locks could be older than them.
        level = {} if engine.dialect.name == "sqlite" else {"isolation_level": "READ COMMITTED"}
        self._engine = engine.execution_options(**level)
        self._rows = table
        self._slots = slots
        self._listening: Connection | None = None

    def prepare(self) -> None:
        while True:
            with self._engine.connect() as connection:
                known = set(connection.scalars(select(self._slots.c.slot)))
                missing = [{"slot": slot} for slot in range(SLOTS) if slot not in known]
                if not missing:
                    return
                with suppress(IntegrityError):  # another relay has made them meanwhile
                    connection.execute(insert(self._slots), missing)
                    connection.commit()

    @contextmanager
    def claim(
        self,
        after: str,
        limit: int,
        size: int,
        except_topics: Sequence[str],
        except_slots: Sequence[tuple[str, int]],
    ) -> Iterator[_Claim]:
        with (
            self._engine.connect() as connection,
            idle_limit(connection.dialect.name, connection.exec_driver_sql),
        ):
            topic = self._topic(connection, after, except_topics)
            claimed = self._lock_slots(connection, topic, except_slots) if topic else ()
            rows = self._read(connection, topic, claimed, limit, size) if topic and claimed else []
            yield _Claim(connection, self._rows, topic, rows)
            connection.commit()

    def _topic(self, connection: Connection, after: str, except_topics: Sequence[str]) -> str | None:
        """The next topic with rows. One that is left out is stepped over: a condition would read all of its rows."""
        topic = self._rows.c.topic
        first = select(topic).order_by(topic).limit(1)
        found = connection.scalar(first.where(topic > after))
        while found in except_topics:
            found = connection.scalar(first.where(topic > found))
        return found

    def _sendable(self, topic: str, slot: ColumnElement[int] | int) -> ColumnElement[bool]:
        """Rows of one slot, to be sorted by slot and id.

        For `=`, PostgreSQL could read all rows in the order of their ids; for a range, MariaDB all rows of the topic.
        """
        row = self._rows.c
        of_slot = row.slot == slot if self._engine.dialect.name in MYSQL else row.slot.between(slot, slot)
        return and_(row.topic == topic, of_slot, row.error.is_(None))

    def _lock_slots(self, connection: Connection, topic: str, except_slots: Sequence[tuple[str, int]]) -> Sequence[int]:
        """Lock slots that have rows and that no other relay has locked, those with the oldest rows first."""
        row, slot = self._rows.c, self._slots.c
        of_slot = select(row.id).where(self._sendable(topic, slot.slot)).correlate(self._slots)
        first = of_slot.order_by(row.slot, row.id).limit(1).scalar_subquery()  # min() would read all rows of a slot
        left_out = [number for of_topic, number in except_slots if of_topic == topic]
        slots = select(slot.slot, first.label("first")).where(slot.slot.not_in(left_out))
        found = [(each.first, each.slot) for each in connection.execute(slots)]
        oldest = [number for first_id, number in sorted(each for each in found if each[0] is not None)]
        free = select(slot.slot).with_for_update(skip_locked=True)
        return first_free(oldest, lambda slots: connection.scalars(free.where(slot.slot.in_(slots))).all())

    def _read(self, connection: Connection, topic: str, slots: Sequence[int], limit: int, size: int) -> list[Row]:
        """Read rows until their events have so many bytes: first the sizes, as drivers fetch all that a query finds.

        Each slot is read by itself, because a query for several of them would sort all of their rows.
        """
        row = self._rows.c
        of_topic = select(row.id, func.length(row.event)).order_by(row.slot, row.id).limit(share(limit, slots))
        each_slot = (of_topic.where(self._sendable(topic, slot)).subquery().select() for slot in slots)
        ids = up_to(size, connection.execute(union_all(*each_slot).order_by("id")))
        found = select(row.id, row.slot, row.event).where(row.id.in_(ids)).order_by(row.id)
        return [Row(*each) for each in connection.execute(found)]

    def wait(self, timeout_s: float, stopped: threading.Event) -> None:
        if self._engine.dialect.driver != "psycopg":
            stopped.wait(timeout_s)
            return
        if self._listening is None:
            # Set on the connection: an engine's option does not override the level that it was created with.
            self._listening = self._engine.connect().execution_options(isolation_level="AUTOCOMMIT")
            self._listening.detach()  # the pool may have one connection only
            self._listening.execute(text(f"LISTEN {CHANNEL}"))
            return  # what was committed before is not announced
        try:
            wait_for_announcement(self._listening.connection.dbapi_connection, timeout_s, stopped)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        if self._listening is not None:
            self._listening.invalidate()
            self._listening.close()
            self._listening = None
