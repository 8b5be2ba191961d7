"""Handlers whose writes are committed together with a note that their event was handled.

Inbox(Base.metadata)

@worker.on("order.placed", once=sessionmaker(engine))
def bill(delivery: Delivery, session: Session) -> None:
    session.add(Invoice(order=delivery.json()["id"]))

An event may be delivered again after that, because its ack was lost or its lease ran out. The note is found, and the
handler is not called. If two workers handle an event at the same time, because one of them was suspended, the second
commit fails.
"""

import logging
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any, cast

from sqlalchemy import (
    BigInteger,
    Column,
    ColumnElement,
    Index,
    MetaData,
    String,
    Table,
    and_,
    delete,
    insert,
    literal,
    select,
    text,
    update,
)
from sqlalchemy.dialects.mysql import VARBINARY
from sqlalchemy.engine import CursorResult  # noqa: TC002 - for a cast
from sqlalchemy.exc import IntegrityError, InterfaceError, OperationalError
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker
from sqlalchemy.orm import Session, sessionmaker

from duebus._core.delivery import Delivery
from duebus._core.fields import Span, seconds
from duebus.integrations.inbox import MAX_IDLE, AlreadyHandled, Beginning, check_ended, too_late
from duebus.integrations.outbox import MYSQL
from duebus.integrations.sqlalchemy.outbox import MOMENT

__all__ = ["Inbox", "Once", "once_with"]

_log = logging.getLogger("duebus.inbox")

_NAME = String(255).with_variant(VARBINARY(255), *MYSQL)
"""The type of what is compared byte by byte: the collations of MySQL ignore case, or spaces at the end."""

_OUTAGES = (OperationalError, InterfaceError, OSError)
"""What is raised if the database can't be reached. The last one comes from asyncpg."""

SessionFactory = Callable[[], Session] | Callable[[], AsyncSession]


class Inbox:
    """The two tables of an inbox, which the program's migrations create as they do its own.

    Args:
        metadata: What the tables are added to, so that `create_all` and Alembic see them.
        name: The table of notes, one for each event. The table of the last fencing token of each key is called
            `NAME_key`.
        ordered: Whether a commit is refused if a later lease of the same key has committed, because its own has run
            out then. With a key policy that lets several events of a key through at once, this must be False.
    """

    def __init__(self, metadata: MetaData, *, name: str = "duebus_inbox", ordered: bool = True) -> None:
        self._ordered = ordered
        self.notes = Table(
            name,
            metadata,
            Column("topic", _NAME, primary_key=True),
            Column("consumer_group", _NAME, primary_key=True),
            Column("event_id", _NAME, primary_key=True),
            Column("handled_at", MOMENT, nullable=False),
            Index(f"{name}_by_time", "handled_at"),
        )
        self.keys = Table(
            f"{name}_key",
            metadata,
            Column("topic", _NAME, primary_key=True),
            Column("consumer_group", _NAME, primary_key=True),
            Column("event_key", _NAME, primary_key=True),
            Column("fencing_token", BigInteger, nullable=False),
            Column("handled_at", MOMENT, nullable=False),
            Index(f"{name}_key_by_time", "handled_at"),
        )

    def using(self, sessions: SessionFactory) -> "Once":
        """For the argument `once` of `Worker.on`, if the inbox is not the default one.

        Args:
            sessions: Makes a session for each event, for example a `sessionmaker`. For coroutine functions, it makes
                an AsyncSession.
        """
        return Once(self, sessions)

    def prune(self, session: Session, older_than: Span) -> int:
        """Delete notes, in the session's transaction. Returns how many. With an AsyncSession: `session.run_sync`.

        Args:
            session: In a transaction.
            older_than: A timedelta or seconds: longer than an event may still be delivered again, dead letters that
                are redriven included.
        """
        before = datetime.now(UTC) - timedelta(seconds=seconds("older_than", older_than))
        session.execute(delete(self.keys).where(self.keys.c.handled_at < before))
        return _changed(session, delete(self.notes).where(self.notes.c.handled_at < before))

    def has(self, session: Session, delivery: Delivery) -> bool:
        """Whether the event was handled."""
        return session.scalar(select(literal(1)).where(_is_of(self.notes, delivery, event_id=delivery.event_id))) == 1

    def note(self, session: Session, delivery: Delivery) -> None:
        """Note in the session's transaction that the event was handled.

        Raises:
            AlreadyHandled: another worker has committed it meanwhile.
            RuntimeError: a later lease of the key has committed.
        """
        session.flush()  # what the handler has written wrongly is not to be taken for what follows
        if session.get_bind(clause=self.notes).dialect.name == "postgresql":
            session.execute(text(f"SET LOCAL idle_in_transaction_session_timeout = '{MAX_IDLE}'"))
        now = datetime.now(UTC)
        event = _names(delivery, event_id=delivery.event_id)
        try:
            session.execute(insert(self.notes).values(**event, handled_at=now))
        except IntegrityError as error:
            raise AlreadyHandled(delivery.event_id) from error
        if self._ordered and delivery.key:
            self._note_key(session, delivery, now)

    def _note_key(self, session: Session, delivery: Delivery, now: datetime) -> None:
        """Keep the token of the last lease of the key.

        It looks for the row first. On MySQL, an UPDATE that finds none locks the gap where the row would be, and two
        workers with new keys would block each other.

        Raises:
            RuntimeError: a later lease has committed.
        """
        key, of_key = _names(delivery, event_key=delivery.key), _is_of(self.keys, delivery, event_key=delivery.key)
        token = {"fencing_token": delivery.fencing_token, "handled_at": now}
        last = select(self.keys.c.fencing_token).where(of_key)
        if session.scalar(last) is None:
            session.execute(insert(self.keys).values(**key, **token))
            return
        earlier = self.keys.c.fencing_token < delivery.fencing_token
        if not _changed(session, update(self.keys).where(of_key, earlier).values(**token)):
            # With the lock it reads what is committed now, and not what was when MySQL's transaction began.
            raise too_late(delivery, session.scalars(last.with_for_update()).one())


def once_with(sessions: SessionFactory) -> "Once":
    """For the argument `once` of `Worker.on`, with the default inbox."""
    return Inbox(MetaData()).using(sessions)


class Once:
    """Calls handlers with a session whose commit notes that the event was handled.

    Attributes:
        keywords: What handlers get besides the delivery.
    """

    keywords = ("session",)

    def __init__(self, inbox: Inbox, sessions: SessionFactory) -> None:
        if not callable(sessions):
            raise TypeError(f"once: expected a session factory of SQLAlchemy, got {type(sessions).__name__}")
        self._inbox = inbox
        self._sessions = sessions
        self._beginning = Beginning(*_OUTAGES)

    def guard(self, call: Callable[..., object], *, is_async: bool) -> Callable[[Delivery], object]:
        """Returns what calls the handler once, in a transaction.

        Raises:
            TypeError: The session factory is for coroutine functions and the handler is none, or the other way around.
        """
        if is_async and isinstance(self._sessions, sessionmaker):
            raise TypeError("once: a handler that is a coroutine function needs an async_sessionmaker")
        if not is_async and isinstance(self._sessions, async_sessionmaker):
            raise TypeError("once: a handler that is a plain function needs a sessionmaker")
        return self._coroutine(call) if is_async else self._function(call)

    def _check_new(self, session: Session, delivery: Delivery) -> None:
        """Raises AlreadyHandled if the event was handled."""
        with self._beginning.reading():
            if self._inbox.has(session, delivery):
                raise AlreadyHandled(delivery.event_id)

    def _function(self, call: Callable[..., object]) -> Callable[[Delivery], object]:
        def handle(delivery: Delivery) -> None:
            try:
                with cast("Session", self._sessions()) as session, session.begin():
                    self._check_new(session, delivery)
                    check_ended(call(delivery, session=session))
                    self._inbox.note(session, delivery)
            except AlreadyHandled:
                _log.info("%s/%s: event %s was handled before", delivery.topic, delivery.group, delivery.event_id)

        return handle

    def _coroutine(self, call: Callable[..., object]) -> Callable[[Delivery], object]:
        async def handle(delivery: Delivery) -> None:
            try:
                async with cast("AsyncSession", self._sessions()) as session, session.begin():
                    await session.run_sync(self._check_new, delivery)
                    await cast("Awaitable[object]", call(delivery, session=session))
                    await session.run_sync(self._inbox.note, delivery)
            except AlreadyHandled:
                _log.info("%s/%s: event %s was handled before", delivery.topic, delivery.group, delivery.event_id)

        return handle


def _names(delivery: Delivery, **more: str) -> dict[str, ColumnElement[str]]:
    """The columns with a delivery's topic and group, and with what else is given. Drivers get them as text."""
    values = {"topic": delivery.topic, "consumer_group": delivery.group, **more}
    return {name: literal(value, String()) for name, value in values.items()}


def _is_of(table: Table, delivery: Delivery, **more: str) -> ColumnElement[bool]:
    """The row of a delivery's topic and group, and of what else is given."""
    return and_(*(table.c[name] == value for name, value in _names(delivery, **more).items()))


def _changed(session: Session, statement: Any) -> int:
    """Execute a statement. Returns how many rows it has changed."""
    return cast("CursorResult[Any]", session.execute(statement)).rowcount
