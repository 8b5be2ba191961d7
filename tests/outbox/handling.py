"""A worker whose handler takes effect once; it is killed at one of its steps.

python -m outbox.handling DATABASE SERVER STEP KIND
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from typing import TYPE_CHECKING, Any

from duebus import Worker
from duebus.integrations.sqlalchemy import Inbox
from outbox.program import Base, Order
from sqlalchemy import create_engine, event
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import Session, sessionmaker

if TYPE_CHECKING:
    from collections.abc import Callable

    from duebus import Delivery

STEPS = ("written", "noted", "committed")
"""When the worker is killed: after the handler has written, after the note, or after the commit and before the ack."""

TOPIC = "order.placed"
inbox = Inbox(Base.metadata)


def place(number: int) -> Order:
    return Order(id=number)


def asynchronous(url: str) -> str:
    """The URL of a database for an AsyncEngine."""
    return url.replace("sqlite:", "sqlite+aiosqlite:").replace("+pymysql:", "+asyncmy:")


def add_handler(worker: Worker, url: str, kind: str, written: Callable[[], None]) -> None:
    """Add a handler that places the order that an event names."""

    def function(delivery: Delivery, session: Session) -> None:
        session.add(place(delivery.json()))
        session.flush()
        written()

    async def coroutine(delivery: Delivery, session: AsyncSession) -> None:
        session.add(place(delivery.json()))
        await session.flush()
        written()

    if kind == "function":
        worker.add(TOPIC, function, once=sessionmaker(create_engine(url)))
    else:
        worker.add(TOPIC, coroutine, once=async_sessionmaker(create_async_engine(asynchronous(url))))


def main(url: str, server: str, step: str, kind: str) -> None:
    """Handle events until the step is reached."""

    def kill_after(reached: str) -> Any:
        def kill(*_: object) -> None:
            if reached == step:
                os.kill(os.getpid(), signal.SIGKILL)

        return kill

    event.listen(Session, "before_commit", kill_after("noted"))
    event.listen(Session, "after_commit", kill_after("committed"))
    worker = Worker(server)
    add_handler(worker, url, kind, kill_after("written"))
    asyncio.run(worker.serve())


if __name__ == "__main__":
    main(*sys.argv[1:])
