"""Calls handlers with deliveries."""

import asyncio
import contextvars
import functools
import inspect
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Any

from duebus._core import tracing
from duebus.worker.batches import Batches
from duebus.worker.deadlines import Deadlines
from duebus.worker.held import RUNNING, Held
from duebus.worker.interceptors import HandlerInterceptor, call_through
from duebus.worker.outcome import Failure, failure_of, timed_out
from duebus.worker.registry import Registration
from duebus.worker.threads import ThreadPool

__all__ = ["Invoker"]


class Invoker:
    """Calls coroutine functions in the loop and other functions on threads.

    Args:
        threads: Where functions are called.
        interceptors: What comes between the worker and each call, the first outermost.
        max_execution: How many seconds a call may take before its delivery's handlers are cancelled.
        returned: Called when an abandoned call on a thread returns.
    """

    def __init__(
        self,
        threads: ThreadPool,
        interceptors: Sequence[HandlerInterceptor],
        max_execution: float,
        returned: Callable[[Held], None],
    ) -> None:
        self._threads = threads
        self._interceptors = interceptors
        self._max_execution = max_execution
        self._returned = returned
        self._deadlines = Deadlines(max_execution)
        self._batches = Batches(self._call, self._deadlines)
        self._traced = tracing.is_set_up()

    def note_tracing(self) -> None:
        """Checks whether tracing is set up, which takes too long to do for each delivery."""
        self._traced = tracing.is_set_up()

    def flush(self) -> None:
        """Begins to handle the batches that are being collected, because no more will come."""
        self._batches.flush()

    def close(self) -> None:
        """Stops cancelling calls that take too long."""
        self._deadlines.close()

    async def run(self, held: Held, registration: Registration) -> Failure | None:
        """Calls a handler. Returns its failure, or None if it returned; the outcome of a cancelled handler is ignored.

        Everything that a handler raises is a failure and ends in a settle, including a panic of an extension,
        `gevent.Timeout` and `pytest.fail`, which are BaseExceptions but not Exceptions.
        """
        failure = None
        try:
            if held.stage is not RUNNING:
                pass  # cancelled before it began
            elif registration.batching is not None:
                await self._batches.handle(held, registration, registration.batching)
            else:
                self._deadlines.watch(held, registration)
                if self._traced or self._interceptors or registration.blocking:
                    await self._call(registration, (held.delivery,), (held,))
                else:
                    await registration.call(held.delivery)  # type: ignore[misc]  # a coroutine function
        except BaseException as error:
            # Not isinstance: it reads error.__class__, which may raise.
            if issubclass(type(error), GeneratorExit) and _is_being_closed(held):
                raise
            failure = failure_of(registration, error, held.delivery.attempt)
        finally:
            self._deadlines.forget(held, registration)
        if held.cause is None:
            return failure
        return timed_out(registration, self._max_execution, held.delivery.attempt)

    async def _call(self, registration: Registration, arguments: tuple[Any, ...], helds: Sequence[Held]) -> object:
        """Calls a handler on behalf of one delivery or more. Returns what it returned."""
        deliveries = [held.delivery for held in helds]
        call = functools.partial(self._call_handler, registration, arguments, helds)
        with tracing.handling(deliveries, registration.name) if self._traced else nullcontext():
            return await call_through(self._interceptors, registration, deliveries, call)

    async def _call_handler(
        self, registration: Registration, arguments: tuple[Any, ...], helds: Sequence[Held]
    ) -> object:
        if registration.blocking:
            result = await self._call_on_thread(registration, arguments, helds)
        else:
            result = registration.call(*arguments)
        # A plain function may return a coroutine, for example if it wraps a coroutine function.
        if inspect.isawaitable(result):
            return await result
        if inspect.isgenerator(result) or inspect.isasyncgen(result):
            raise TypeError("the handler returned a generator: none of its lines has run")
        return result

    async def _call_on_thread(
        self, registration: Registration, arguments: tuple[Any, ...], helds: Sequence[Held]
    ) -> object:
        context = contextvars.copy_context()
        job = self._threads.start(functools.partial(context.run, registration.call, *arguments))
        try:
            value, error = await job.future
        except asyncio.CancelledError:
            if job.future.cancelled():
                for held in helds:
                    held.abandoned += 1
                job.on_abandoned_return = functools.partial(self._all_returned, helds)
            raise
        if error is not None:
            raise error
        return value

    def _all_returned(self, helds: Sequence[Held]) -> None:
        for held in helds:
            self._returned(held)


def _is_being_closed(held: Held) -> bool:
    """Whether the coroutine is being discarded with its loop, rather than its handler raising GeneratorExit itself."""
    try:
        return asyncio.current_task() not in held.tasks
    except RuntimeError:  # no loop is running
        return True
