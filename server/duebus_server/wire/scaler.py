"""The service ExternalScaler of KEDA: how many workers a topic's group needs."""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from duebus.keda import externalscaler_pb2

from duebus_server.domain import limits
from duebus_server.domain.errors import InvalidArgument
from duebus_server.domain.model import EngineName

if TYPE_CHECKING:
    from collections.abc import Mapping

    import grpc.aio

    from duebus_server.bus.scaling import Scaling

    Context = grpc.aio.ServicerContext[Any, Any]

METRIC = "backlog"
DEFAULT_TARGET = 100
MAX_TARGET = 1_000_000_000
_WHOLE_NUMBER = re.compile(r"\d{1,10}", re.ASCII)

CHECK_S = 1.0
"""How often a stream checks for work. No signal would do: the group may have no session on this server. All streams
check at the same moment, so that the engine is asked once.
"""


@dataclass(frozen=True, slots=True)
class Trigger:
    """The metadata of a ScaledObject's trigger.

    Attributes:
        target: how many events one worker should have.
    """

    topic: str
    group: str
    engine: EngineName | None
    target: int


def read_trigger(metadata: Mapping[str, str]) -> Trigger:
    """Check the metadata. KEDA's own keys, such as ``scalerAddress``, are ignored.

    Raises:
        NoTopicSpecified, InvalidArgument: a key is missing or wrong.
    """
    topic, group = metadata.get("topic", ""), metadata.get("group", "")
    limits.check_topic(topic)
    if group:
        limits.check_name("group", group)
    return Trigger(topic, group, _engine(metadata.get("engine", "")), _target(metadata.get("targetBacklog", "")))


def _engine(written: str) -> EngineName | None:
    if written not in ("", *EngineName):
        raise InvalidArgument("engine", f"is not one of {', '.join(EngineName)}")
    return EngineName(written) if written else None


def _target(written: str) -> int:
    if not written:
        return DEFAULT_TARGET
    if not _WHOLE_NUMBER.fullmatch(written):
        raise InvalidArgument("targetBacklog", "is not a whole number of at most 10 digits")
    limits.check_range("targetBacklog", int(written), 1, MAX_TARGET)
    return int(written)


class ScalerServicer:
    """externalscaler.ExternalScaler. ``externalscaler.proto`` documents its guarantees."""

    def __init__(self, scaling: Scaling) -> None:
        self._scaling = scaling

    async def IsActive(  # noqa: N802  # the name on the wire
        self, request: externalscaler_pb2.ScaledObjectRef, _context: Context
    ) -> externalscaler_pb2.IsActiveResponse:
        """Whether there is work."""
        return externalscaler_pb2.IsActiveResponse(result=await self._backlog(request) > 0)

    async def StreamIsActive(self, request: externalscaler_pb2.ScaledObjectRef, context: Context) -> None:  # noqa: N802
        """Whether there is work, now and whenever that changes."""
        trigger = read_trigger(request.scalerMetadata)
        now_s = asyncio.get_running_loop().time
        reported: bool | None = None
        while True:
            active = await self._work(trigger) > 0
            if active is not reported:
                reported = active
                await context.write(externalscaler_pb2.IsActiveResponse(result=active))
            await asyncio.sleep(CHECK_S - now_s() % CHECK_S)

    async def GetMetricSpec(  # noqa: N802
        self, request: externalscaler_pb2.ScaledObjectRef, _context: Context
    ) -> externalscaler_pb2.GetMetricSpecResponse:
        """The target of the metric."""
        target = read_trigger(request.scalerMetadata).target
        spec = externalscaler_pb2.MetricSpec(metricName=METRIC, targetSize=target, targetSizeFloat=target)
        return externalscaler_pb2.GetMetricSpecResponse(metricSpecs=[spec])

    async def GetMetrics(  # noqa: N802
        self, request: externalscaler_pb2.GetMetricsRequest, _context: Context
    ) -> externalscaler_pb2.GetMetricsResponse:
        """How much work there is."""
        backlog = await self._backlog(request.scaledObjectRef)
        name = request.metricName or METRIC
        value = externalscaler_pb2.MetricValue(metricName=name, metricValue=backlog, metricValueFloat=backlog)
        return externalscaler_pb2.GetMetricsResponse(metricValues=[value])

    async def _backlog(self, request: externalscaler_pb2.ScaledObjectRef) -> int:
        return await self._work(read_trigger(request.scalerMetadata))

    async def _work(self, trigger: Trigger) -> int:
        return await self._scaling.backlog(trigger.engine, trigger.topic, trigger.group)
