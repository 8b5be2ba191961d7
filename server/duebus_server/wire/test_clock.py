"""The service TestClock, which a server has only with ``--test-clock``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from duebus.v1 import test_clock_pb2

from duebus_server.domain import limits
from duebus_server.domain.errors import InvalidArgument
from duebus_server.wire.times import duration_us, seconds_and_nanos, timestamp_us

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    import grpc.aio

    Context = grpc.aio.ServicerContext[Any, Any]


class TestClockServicer:
    """duebus.v1.TestClock. ``test_clock.proto`` documents guarantees and errors.

    Args:
        advance: moves the server's clock by microseconds.
        now_us: the server's clock.
    """

    def __init__(self, advance: Callable[[int], Awaitable[None]], now_us: Callable[[], int]) -> None:
        self._advance = advance
        self._now_us = now_us

    async def AdvanceTime(  # noqa: N802  # the name on the wire
        self, request: test_clock_pb2.AdvanceTimeRequest, _context: Context
    ) -> test_clock_pb2.AdvanceTimeResponse:
        """Move the clock forward."""
        target = request.WhichOneof("target")
        if target is None:
            raise InvalidArgument("target", "by or to is required")
        is_by = target == "by"
        by_us = duration_us("by", request.by) if is_by else timestamp_us("to", request.to) - self._now_us()
        limits.check_duration(target, by_us, 0, limits.MAX_DELAY_US)
        await self._advance(by_us)
        return test_clock_pb2.AdvanceTimeResponse(now=seconds_and_nanos(self._now_us()))
