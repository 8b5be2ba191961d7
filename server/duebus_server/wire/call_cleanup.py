"""The end of a call, after which nothing of it is left to the garbage collector."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Any, NoReturn

import grpc.aio

if TYPE_CHECKING:
    from collections.abc import Callable

    from duebus_server.wire.status import Status


async def abort(context: grpc.aio.ServicerContext[Any, Any], status: Status) -> NoReturn:
    """End the call of the current task.

    gRPC keeps the error that it raises, whose traceback refers to what refers to the call: the call, and its request of
    up to 16 MiB, would stay until the garbage collector finds them. So the traceback goes when the task ends.

    Raises:
        grpc.aio.AbortError: always; gRPC must get it.
    """
    try:
        await context.abort(*status)
    except grpc.aio.AbortError as error:
        when_ended(partial(_forget_traceback, error))
        raise
    raise AssertionError("an abort raises")


def when_ended(run: Callable[[object], None]) -> None:
    """Run something when the current call has ended, answer included.

    A callback of the call's context would do the same, but refer to the context, and so leave the call to the garbage
    collector.
    """
    task = asyncio.current_task()
    if task is None:
        raise RuntimeError("no call is under way")
    task.add_done_callback(run)


def _forget_traceback(error: BaseException, _task: object) -> None:
    error.__traceback__ = None
