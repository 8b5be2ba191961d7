"""A relay of a Django project that is killed at one of its steps.

python -m django_integration.killed_relay DATABASE SERVER STEP
"""

from __future__ import annotations

import sys

from duebus import Client
from outbox.program import KilledStore
from support.django_project import set_up, use_database


def main(database: str, server: str, step: str) -> None:
    """Relay until the step is reached."""
    set_up()
    use_database(database)
    from duebus.integrations.django import relay  # noqa: PLC0415 - models are loaded once Django is set up

    with Client(server, timeout=10) as client:
        killed = relay(client)
        killed._store = KilledStore(killed._store, step)
        killed.run()


if __name__ == "__main__":
    main(*sys.argv[1:])
