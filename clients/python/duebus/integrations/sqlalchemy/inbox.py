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
    DateTime,
    Index,
    MetaData,
    String,
    Table,
    delete,
    insert,
    literal,
    select,
    text,
    update,
)
from sqlalchemy.engine import CursorResult  # noqa: TC002 - for a cast
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker
from sqlalchemy.orm import Session, sessionmaker

from duebus._core.delivery import Delivery
from duebus._core.fields import Span, seconds
from duebus.integrations.inbox import MAX_IDLE, AlreadyHandled, check_ended, too_late

__all__ = ["Inbox", "Once", "once_with"]

_log = logging.getLogger("duebus.inbox")

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
            Column("topic", String(255), primary_key=True),
            Column("consumer_group", String(255), primary_key=True),
            Column("event_id", String(255), primary_key=True),
            Column("handled_at", DateTime(timezone=True), nullable=False),
            Index(f"{name}_by_time", "handled_at"),
        )
        self.keys = Table(
            f"{name}_key",
            metadata,
            Column("topic", String(255), primary_key=True),
            Column("consumer_group", String(255), primary_key=True),
            Column("event_key", String(255), primary_key=True),
            Column("fencing_token", BigInteger, nullable=False),
            Column("handled_at", DateTime(timezone=True), nullable=False),
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
        known = {"topic": delivery.topic, "consumer_group": delivery.group}
        try:
            session.execute(insert(self.notes).values(**known, event_id=delivery.event_id, handled_at=now))
        except IntegrityError as error:
            raise AlreadyHandled(delivery.event_id) from error
        if not (self._ordered and delivery.key):
            return
        token = {"fencing_token": delivery.fencing_token, "handled_at": now}
        of_key = _is_of(self.keys, delivery, event_key=delivery.key)
        newer = update(self.keys).where(of_key, self.keys.c.fencing_token < delivery.fencing_token).values(**token)
        if _changed(session, newer):
            return
        if (last := session.scalar(select(self.keys.c.fencing_token).where(of_key))) is not None:
            raise too_late(delivery, last)
        session.execute(insert(self.keys).values(**known, event_key=delivery.key, **token))


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

    def guard(self, call: Callable[..., object], *, is_async: bool) -> Callable[[Delivery], object]:
        """Returns what calls the handler once, in a transaction.

        Raises:
            TypeError: The session factory is for coroutine functions and the handler is none, or the other way around.
        """
        if is_async and isinstance(self._sessions, sessionmaker):
            raise TypeError("once: a handler that is a coroutine function needs an async_sessionmaker")
        if not is_async and isinstance(self._sessions, async_sessionmaker):
            raise TypeError("once: a handler that is no coroutine function needs a sessionmaker")
        return self._coroutine(call) if is_async else self._function(call)

    def _function(self, call: Callable[..., object]) -> Callable[[Delivery], object]:
        def handle(delivery: Delivery) -> None:
            try:
                with cast("Session", self._sessions()) as session, session.begin():
                    if self._inbox.has(session, delivery):
                        raise AlreadyHandled(delivery.event_id)  # noqa: TRY301
                    check_ended(call(delivery, session=session))
                    self._inbox.note(session, delivery)
            except AlreadyHandled:
                _log.info("%s/%s: event %s was handled before", delivery.topic, delivery.group, delivery.event_id)

        return handle

    def _coroutine(self, call: Callable[..., object]) -> Callable[[Delivery], object]:
        async def handle(delivery: Delivery) -> None:
            try:
                async with cast("AsyncSession", self._sessions()) as session, session.begin():
                    if await session.run_sync(self._inbox.has, delivery):
                        raise AlreadyHandled(delivery.event_id)  # noqa: TRY301
                    await cast("Awaitable[object]", call(delivery, session=session))
                    await session.run_sync(self._inbox.note, delivery)
            except AlreadyHandled:
                _log.info("%s/%s: event %s was handled before", delivery.topic, delivery.group, delivery.event_id)

        return handle


def _is_of(table: Table, delivery: Delivery, **more: str) -> ColumnElement[bool]:
    """The row of a delivery's topic and group, and of what else is given."""
    values = {"topic": delivery.topic, "consumer_group": delivery.group, **more}
    found: ColumnElement[bool] = table.c.topic == delivery.topic
    for name, value in values.items():
        found &= table.c[name] == value
    return found


def _changed(session: Session, statement: Any) -> int:
    """Execute a statement. Returns how many rows it has changed."""
    return cast("CursorResult[Any]", session.execute(statement)).rowcount
