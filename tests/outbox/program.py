"""A shop whose orders and events are committed together; run as a program, a relay that is killed at one of its steps.

python -m outbox.program DATABASE SERVER STEP
"""

from __future__ import annotations

import os
import signal
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from duebus import Client
from duebus.integrations.sqlalchemy import Outbox
from sqlalchemy import create_engine, select
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from duebus.integrations.outbox import Relay

STEPS = ("claimed", "dispatched", "removed", "committed")
"""When the relay is killed: after it has done that with its first batch."""


class Base(DeclarativeBase):
    pass


class Order(Base):
    __tablename__ = "orders"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)  # else MySQL takes 0 for "the next one"


outbox = Outbox(Base.metadata)


class Shop:
    """An application with a database.

    Args:
        url: of its database.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self.engine = create_engine(url)

    def create_tables(self) -> None:
        """As its migrations would."""
        Base.metadata.create_all(self.engine)

    def place(self, *numbers: int, key: str = "", topic: str = "order.created", roll_back: bool = False) -> None:
        """Commit orders, each with its event, or roll all of it back."""
        with Session(self.engine) as session:
            for number in numbers:
                session.add(Order(id=number))
                outbox.dispatch(session, topic, number, key=key, id=f"order-{number}")
            session.flush()
            if roll_back:
                session.rollback()
            else:
                session.commit()

    def rows(self) -> list[Any]:
        """What the outbox holds, in order."""
        with self.engine.connect() as connection:
            return list(connection.execute(select(outbox.table).order_by(outbox.table.c.id)))

    def relay(self, client: Client, poll_s: float = 0.05) -> Relay:
        """A relay that has not begun."""
        return outbox.relay(self.engine, client, poll=poll_s)


class KilledStore:
    """A store that ends its process, as kill -9 does, after one of the steps of the first batch."""

    def __init__(self, store: Any, step: str) -> None:
        self._store = store
        self._step = step

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    @contextmanager
    def claim(self, *arguments: Any) -> Iterator[Any]:
        with self._store.claim(*arguments) as claim:
            if not claim.rows:
                yield claim
                return
            self._kill_after("claimed")
            yield _KilledClaim(claim, self._kill_after)
        self._kill_after("committed")

    def _kill_after(self, step: str) -> None:
        if step == self._step:
            os.kill(os.getpid(), signal.SIGKILL)


class _KilledClaim:
    def __init__(self, claim: Any, kill_after: Any) -> None:
        self.topic, self.rows = claim.topic, claim.rows
        self._claim = claim
        self._kill_after = kill_after

    def remove(self, ids: Sequence[int]) -> None:
        self._kill_after("dispatched")
        self._claim.remove(ids)
        self._kill_after("removed")


def main(database: str, server: str, step: str) -> None:
    """Relay until the step is reached."""
    with Client(server, timeout=10) as client:
        relay = Shop(database).relay(client)
        relay._store = KilledStore(relay._store, step)
        relay.run()


if __name__ == "__main__":
    main(*sys.argv[1:])
