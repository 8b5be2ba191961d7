"""`manage.py duebus_relay`."""

import signal
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand
from django.db import connections

from duebus.client import Client
from duebus.integrations.django.outbox import client_options, relay

__all__ = ["Command"]


class Command(BaseCommand):
    """Dispatches the events of committed transactions, until SIGTERM or Ctrl-C."""

    help = "Dispatch the events of committed transactions, until SIGTERM or Ctrl-C."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Declares the options."""
        parser.add_argument(
            "--database",
            choices=tuple(connections),
            help="The alias of the database; by default that of the app's models.",
        )

    def handle(self, *_: Any, **options: Any) -> None:
        """Runs until a signal."""
        ending = {signal.SIGINT, signal.SIGTERM}
        signal.pthread_sigmask(signal.SIG_BLOCK, ending)  # before threads begin, so that none of them gets one
        with Client(**client_options()) as client, relay(client, using=options["database"]).running():
            self.stderr.write("sending duebus_outbox; Ctrl-C ends")
            signal.sigwait(ending)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, ending)  # a second one ends it at once
