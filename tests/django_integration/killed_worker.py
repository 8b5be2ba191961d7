"""A worker of a Django project whose handler takes effect once; it is killed at one of its steps.

python -m django_integration.killed_worker DATABASE SERVER STEP
"""

from __future__ import annotations

import os
import signal
import sys
from typing import TYPE_CHECKING, Any

from django.db.backends.base.base import BaseDatabaseWrapper
from duebus import Worker
from support.django_project import set_up, use_database

if TYPE_CHECKING:
    from duebus import Delivery

STEPS = ("written", "noted", "committed")
"""When it is killed: after the handler has written, after the note, or after the commit and before the ack."""

TOPIC = "order.placed"


def add_handler(worker: Worker) -> None:
    """Add a handler that writes an event into the outbox."""
    from duebus.integrations.django import Once, dispatch  # noqa: PLC0415 - models are loaded once Django is set up

    def bill(delivery: Delivery) -> None:
        dispatch("order.billed", delivery.json())
        written()

    worker.add(TOPIC, bill, once=Once())


def written() -> None:
    """What the handler calls when it has written."""


def kill(*_: object) -> None:
    """As kill -9 does."""
    os.kill(os.getpid(), signal.SIGKILL)


def main(database: str, server: str, step: str) -> None:
    """Handle events until the step is reached."""
    set_up()
    use_database(database)
    commit = BaseDatabaseWrapper._commit

    def commit_and_kill(self: Any) -> None:
        if step == "noted":
            kill()
        commit(self)
        kill()

    if step == "written":
        globals()["written"] = kill
    else:
        BaseDatabaseWrapper._commit = commit_and_kill
    worker = Worker(server)
    add_handler(worker)
    worker.run()


if __name__ == "__main__":
    main(*sys.argv[1:])
