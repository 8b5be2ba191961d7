"""Interceptors of handlers: what a user puts around every call of a handler."""

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from inspect import isawaitable

from duebus._core.delivery import Delivery
from duebus.worker.registry import Registration

__all__ = ["HandlerInterceptor", "HandlerNext", "call_through"]

HandlerNext = Callable[[], Awaitable[object]]
"""Calls the next interceptor, and after the last one the handler. Returns what the handler has returned."""

HandlerInterceptor = Callable[[Registration, Sequence[Delivery], HandlerNext], Awaitable[object]]
"""Comes between the worker and each call of a handler: `async def interceptor(handler, deliveries, call_next)`.

It gets the registration of the handler, and one delivery, or those of a batch.
"""


async def call_through(
    interceptors: Sequence[HandlerInterceptor],
    registration: Registration,
    deliveries: Sequence[Delivery],
    call: HandlerNext,
) -> object:
    """Calls a handler through interceptors, the first outermost. Returns what the handler has returned.

    What the interceptors return is ignored: one without a `return` must not lose the outcomes of a batch.
    """
    returned: object = None

    async def call_next(depth: int) -> object:
        nonlocal returned
        if depth == len(interceptors):
            returned = await call()
        else:
            passed = interceptors[depth](registration, deliveries, partial(call_next, depth + 1))
            if not isawaitable(passed):
                raise TypeError(f"the interceptor {interceptors[depth]!r} must be a coroutine function")
            await passed
        return returned

    return await call_next(0)
