"""Calls one handler with one delivery."""

import asyncio
import contextvars
import functools
import inspect
from collections.abc import Callable
from contextlib import nullcontext

from duebus._core import tracing
from duebus.worker.held import RUNNING, Held
from duebus.worker.outcome import Failure, failure_of, timed_out
from duebus.worker.registry import Registration
from duebus.worker.threads import ThreadPool

__all__ = ["Invoker"]


class Invoker:
    """Calls coroutine functions in the loop and other functions on threads.

    Args:
        threads: Where functions are called.
        max_execution: The time limit in seconds, for the message of a cancelled handler.
        returned: Called when an abandoned call on a thread returns.
    """

    def __init__(self, threads: ThreadPool, max_execution: float, returned: Callable[[Held], None]) -> None:
        self._threads = threads
        self._max_execution = max_execution
        self._returned = returned
        self._traced = tracing.is_set_up()

    def note_tracing(self) -> None:
        """Checks whether tracing is set up, which takes too long to do for each delivery."""
        self._traced = tracing.is_set_up()

    async def run(self, held: Held, registration: Registration) -> Failure | None:
        """Calls a handler. Returns its failure, or None if it returned; the outcome of a cancelled handler is ignored.

        Everything that a handler raises is a failure and ends in a settle, including a panic of an extension,
        `gevent.Timeout` and `pytest.fail`, which are BaseExceptions but not Exceptions.
        """
        failure = None
        try:
            if held.stage is not RUNNING:
                pass  # cancelled before it began
            elif self._traced or registration.blocking:
                await self._call(held, registration)
            else:
                await registration.call(held.delivery)  # type: ignore[misc]  # a coroutine function
        except BaseException as error:
            # Not isinstance: it reads error.__class__, which may raise.
            if issubclass(type(error), GeneratorExit) and _is_being_closed(held):
                raise
            failure = failure_of(registration, error, held.delivery.attempt)
        if held.cause is None:
            return failure
        return timed_out(registration, self._max_execution, held.delivery.attempt)

    async def _call(self, held: Held, registration: Registration) -> None:
        with tracing.handling(held.delivery, registration.name) if self._traced else nullcontext():
            if registration.blocking:
                result = await self._call_on_thread(held, registration)
            else:
                result = registration.call(held.delivery)
            # A plain function may return a coroutine, for example if it wraps a coroutine function.
            if inspect.isawaitable(result):
                await result
            elif inspect.isgenerator(result) or inspect.isasyncgen(result):
                raise TypeError("the handler returned a generator: none of its lines has run")

    async def _call_on_thread(self, held: Held, registration: Registration) -> object:
        context = contextvars.copy_context()
        job = self._threads.start(functools.partial(context.run, registration.call, held.delivery))
        try:
            value, error = await job.future
        except asyncio.CancelledError:
            if job.future.cancelled():
                held.abandoned += 1
                job.on_abandoned_return = functools.partial(self._returned, held)
            raise
        if error is not None:
            raise error
        return value


def _is_being_closed(held: Held) -> bool:
    """Whether the coroutine is being discarded with its loop, rather than its handler raising GeneratorExit itself."""
    try:
        return asyncio.current_task() not in held.tasks
    except RuntimeError:  # no loop is running
        return True
