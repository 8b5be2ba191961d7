"""Health and reflection: what load balancers and grpcurl ask."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio
import pytest
from google.protobuf import descriptor_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

if TYPE_CHECKING:
    from support.wire import Wire

SERVICES = ["duebus.v1.EventBus", "duebus.v1.EventBusAdmin"]


@pytest.mark.parametrize("service", ["", *SERVICES])
async def test_every_service_is_serving(wire: Wire, service: str) -> None:
    health: Any = health_pb2_grpc.HealthStub(wire.channel)
    answer = await health.Check(health_pb2.HealthCheckRequest(service=service))
    assert answer.status == health_pb2.HealthCheckResponse.SERVING


async def test_the_health_of_an_unknown_service_is_not_found(wire: Wire) -> None:
    health: Any = health_pb2_grpc.HealthStub(wire.channel)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await health.Check(health_pb2.HealthCheckRequest(service="no.such.Service"))
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND


async def reflected(wire: Wire, **request: str) -> Any:
    """One answer of the reflection service."""
    stub: Any = reflection_pb2_grpc.ServerReflectionStub(wire.channel)
    async for answer in stub.ServerReflectionInfo(iter([reflection_pb2.ServerReflectionRequest(**request)])):
        return answer
    raise AssertionError("no answer")


async def test_reflection_lists_the_services(wire: Wire) -> None:
    answer = await reflected(wire, list_services="")
    names = {service.name for service in answer.list_services_response.service}
    assert names >= {*SERVICES, "grpc.health.v1.Health"}


@pytest.mark.parametrize(("service", "rpcs"), [(SERVICES[0], 6), (SERVICES[1], 14)])
async def test_reflection_describes_the_messages(wire: Wire, service: str, rpcs: int) -> None:
    answer = await reflected(wire, file_containing_symbol=service)
    files = [
        descriptor_pb2.FileDescriptorProto.FromString(raw)
        for raw in answer.file_descriptor_response.file_descriptor_proto
    ]
    described = {f"{file.package}.{each.name}": each for file in files for each in file.service}
    assert len(described[service].method) == rpcs
