"""`manage.py duebus_worker`."""

import asyncio
from argparse import ArgumentParser
from contextlib import ExitStack
from functools import partial
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.utils.module_loading import import_string

from duebus import aio
from duebus.client import Client
from duebus.errors import InvalidArgument
from duebus.integrations.django.outbox import client_options, relay
from duebus.integrations.django.tasks import make_worker
from duebus.worker import Worker
from duebus.worker.signals import stop_on_signals

__all__ = ["Command"]


class Command(BaseCommand):
    """Runs the tasks that DueBusBackend has enqueued, or the handlers of a Worker, until SIGTERM or Ctrl-C."""

    help = "Run the tasks that DueBusBackend has enqueued, or the handlers of a Worker, until SIGTERM or Ctrl-C."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Declares the arguments."""
        parser.add_argument(
            "handlers", nargs="?", metavar="MODULE.WORKER", help="A duebus.Worker to run instead of tasks."
        )
        parser.add_argument("--queue", action="append", help="A queue to run; may be repeated. By default, all.")
        parser.add_argument("--concurrency", type=int, default=8, help="Tasks at once for each queue, by default 8.")
        parser.add_argument(
            "--max-execution", type=float, default=3600, help="Seconds that a task may run, by default 3600."
        )
        parser.add_argument("--relay", action="store_true", help="Run the relay of the outbox too.")

    def handle(self, *_: Any, **options: Any) -> None:
        """Runs until a signal."""
        worker = _worker(**options)
        with ExitStack() as stack:
            if options["relay"]:
                stack.enter_context(relay(stack.enter_context(Client(**client_options()))).running())
            asyncio.run(self._serve(worker))

    async def _serve(self, worker: Worker) -> None:
        with stop_on_signals(worker.request_stop, partial(worker.request_stop, now=True)):
            async with aio.Client(**client_options()) as client:
                announcing = asyncio.create_task(self._announce(worker))
                try:
                    await worker.serve(client)
                finally:
                    announcing.cancel()

    async def _announce(self, worker: Worker) -> None:
        await worker.ready()
        self.stderr.write("ready; Ctrl-C drains")


def _worker(handlers: str | None, queue: list[str] | None, concurrency: int, max_execution: float, **_: Any) -> Worker:
    """The worker that the options ask for.

    Raises:
        CommandError: there is none.
    """
    try:
        found = import_string(handlers) if handlers else make_worker(queue, concurrency, max_execution)
    except (ImportError, LookupError, InvalidArgument) as error:
        raise CommandError(str(error)) from error
    if not isinstance(found, Worker):
        raise CommandError(f"{handlers} is a {type(found).__name__}, not a duebus.Worker")
    return found
