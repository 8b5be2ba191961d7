"""The service TestClock, which a server has only with ``--test-clock``."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from duebus.v1 import test_clock_pb2

from duebus_server.bus.manual_time import NotSettledError
from duebus_server.domain import limits
from duebus_server.domain.clock import SECOND
from duebus_server.domain.errors import InvalidArgument
from duebus_server.wire.times import duration_us, seconds_and_nanos, timestamp_us

if TYPE_CHECKING:
    import grpc.aio
    from google.protobuf.duration_pb2 import Duration

    from duebus_server.bus.manual_time import ManualTime

    Context = grpc.aio.ServicerContext[Any, Any]


class TestClockServicer:
    """duebus.v1.TestClock. ``test_clock.proto`` documents guarantees and errors.

    Args:
        time: moves the server's clock.
    """

    def __init__(self, time: ManualTime) -> None:
        self._time = time

    async def AdvanceTime(  # noqa: N802  # the name on the wire
        self, request: test_clock_pb2.AdvanceTimeRequest, _context: Context
    ) -> test_clock_pb2.AdvanceTimeResponse:
        """Move the clock forward."""
        target = request.WhichOneof("target")
        if target is None:
            raise InvalidArgument("target", "by or to is required")
        is_by = target == "by"
        by_us = duration_us("by", request.by) if is_by else timestamp_us("to", request.to) - self._time.now_us()
        limits.check_duration(target, by_us, 0, limits.MAX_DELAY_US)
        handled = None
        if request.HasField("settle_timeout"):
            handled = partial(self._time.settle, _timeout_s("settle_timeout", request.settle_timeout))
        unsettled: list[str] = []
        try:
            await self._time.advance(by_us, handled)
        except NotSettledError as error:
            unsettled = error.groups
        return test_clock_pb2.AdvanceTimeResponse(now=seconds_and_nanos(self._time.now_us()), unsettled=unsettled)

    async def Settle(  # noqa: N802  # the name on the wire
        self, request: test_clock_pb2.SettleRequest, _context: Context
    ) -> test_clock_pb2.SettleResponse:
        """Wait until everything that is due is handled."""
        try:
            await self._time.settle(_timeout_s("timeout", request.timeout))
        except NotSettledError as error:
            return test_clock_pb2.SettleResponse(unsettled=error.groups)
        return test_clock_pb2.SettleResponse()


def _timeout_s(field: str, timeout: Duration) -> float:
    timeout_us = duration_us(field, timeout)
    limits.check_duration(field, timeout_us, 0, limits.MAX_SETTLE_TIMEOUT_US)
    return timeout_us / SECOND
