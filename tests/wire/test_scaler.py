"""KEDA's external scaler: workers from none to as many as the backlog needs, and back."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from duebus.keda import externalscaler_pb2, externalscaler_pb2_grpc
from support.secured import make_secured, rule
from support.wire import SIGNAL_TIMEOUT_S, Failure, connect, event, failure_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from support.server_process import ServerProcess
    from support.wire import Wire


def scaler(wire: Wire) -> Any:
    """The service, on a client's connection."""
    return externalscaler_pb2_grpc.ExternalScalerStub(wire.channel)  # type: ignore[no-untyped-call]  # generated


def scaled(**metadata: str) -> externalscaler_pb2.ScaledObjectRef:
    """A ScaledObject with this trigger, as KEDA sends it."""
    all_of_it = {"scalerAddress": "duebus:50051", **metadata}
    return externalscaler_pb2.ScaledObjectRef(name="workers", namespace="shop", scalerMetadata=all_of_it)


async def backlog(wire: Wire, **metadata: str) -> int:
    request = externalscaler_pb2.GetMetricsRequest(scaledObjectRef=scaled(**metadata), metricName="backlog")
    (value,) = (await scaler(wire).GetMetrics(request)).metricValues
    assert (value.metricName, value.metricValueFloat) == ("backlog", value.metricValue)
    return int(value.metricValue)


async def is_active(wire: Wire, **metadata: str) -> bool:
    return bool((await scaler(wire).IsActive(scaled(**metadata))).result)


async def test_due_events_count_until_they_are_settled(wire: Wire, topic: str) -> None:
    assert (await backlog(wire, topic=topic), await is_active(wire, topic=topic)) == (0, False)
    await wire.dispatch(topic, "a", "b")
    assert (await backlog(wire, topic=topic), await is_active(wire, topic=topic)) == (2, True), (
        "it waits for the first group"
    )
    stream = await wire.subscribe(topic)
    deliveries = await stream.take(2)
    assert (await backlog(wire, topic=topic), await is_active(wire, topic=topic)) == (2, True), "it is being handled"
    await wire.ack(*deliveries)
    assert (await backlog(wire, topic=topic), await is_active(wire, topic=topic)) == (0, False)


@pytest.mark.parametrize("target", ["9" * 5_000, "1" * 11, "٣", "-1", "1_0", " 1"])
async def test_an_invalid_target_is_refused(wire: Wire, topic: str, target: str) -> None:
    for call in (scaler(wire).IsActive, scaler(wire).GetMetricSpec):
        failure = await failure_of(call(scaled(topic=topic, targetBacklog=target)))
        assert (failure.code, failure.fields) == (grpc.StatusCode.INVALID_ARGUMENT, ["targetBacklog"])


async def test_events_that_are_not_due_need_no_worker(wire: Wire, topic: str) -> None:
    await wire.dispatch(topic, event("later", delay=3600))
    assert (await backlog(wire, topic=topic), await is_active(wire, topic=topic)) == (0, False)


async def test_each_group_has_its_own_backlog(wire: Wire, topic: str) -> None:
    streams = [await wire.subscribe(topic, group=group) for group in ("billing", "audit")]
    await wire.dispatch(topic, "a", "b", "c")
    deliveries = await streams[0].take(3)
    await wire.ack(*deliveries[:2])
    found = [await backlog(wire, topic=topic, group=group) for group in ("billing", "audit", "nobody", "")]
    assert found == [1, 3, 0, 0]


async def test_the_target_is_that_of_the_trigger(wire: Wire, topic: str) -> None:
    for metadata, target in (({}, 100), ({"targetBacklog": "5"}, 5)):
        (spec,) = (await scaler(wire).GetMetricSpec(scaled(topic=topic, **metadata))).metricSpecs
        assert (spec.metricName, spec.targetSize, spec.targetSizeFloat) == ("backlog", target, target)


async def test_a_stream_reports_at_once_and_on_each_change(wire: Wire, topic: str) -> None:
    call = scaler(wire).StreamIsActive(scaled(topic=topic))
    answers = aiter(call)
    assert not (await asyncio.wait_for(anext(answers), SIGNAL_TIMEOUT_S)).result
    await wire.dispatch(topic, "a")
    assert (await asyncio.wait_for(anext(answers), SIGNAL_TIMEOUT_S)).result
    stream = await wire.subscribe(topic)
    await wire.ack(await stream.one())
    assert not (await asyncio.wait_for(anext(answers), SIGNAL_TIMEOUT_S)).result
    call.cancel()


@pytest.mark.parametrize(
    ("metadata", "reason", "field"),
    [
        ({}, "NO_TOPIC_SPECIFIED", "topic"),
        ({"topic": "a/b"}, "INVALID_ARGUMENT", "topic"),
        ({"topic": "a", "group": "a/b"}, "INVALID_ARGUMENT", "group"),
        ({"topic": "a", "engine": "kafka"}, "INVALID_ARGUMENT", "engine"),
        ({"topic": "a", "targetBacklog": "many"}, "INVALID_ARGUMENT", "targetBacklog"),
        ({"topic": "a", "targetBacklog": "0"}, "INVALID_ARGUMENT", "targetBacklog"),
    ],
)
async def test_a_wrong_trigger_is_refused_and_its_key_named(
    wire: Wire, metadata: dict[str, str], reason: str, field: str
) -> None:
    failure: Failure = await failure_of(scaler(wire).GetMetricSpec(scaled(**metadata)))
    assert (failure.code, failure.reason, failure.fields) == (grpc.StatusCode.INVALID_ARGUMENT, reason, [field])


async def test_an_engine_that_does_not_run_here_is_named(wire: Wire) -> None:
    failure = await failure_of(scaler(wire).IsActive(scaled(topic="a", engine="redis")))
    assert (failure.reason, failure.metadata) == ("NO_DISPATCHER_SPECIFIED", {"engine": "redis"})


async def test_unknown_fields_of_a_newer_keda_are_accepted(wire: Wire, topic: str) -> None:
    newer = scaled(topic=topic).SerializeToString() + b"\x62\x01x"
    ask = wire.channel.unary_unary("/externalscaler.ExternalScaler/IsActive", None, None)
    assert externalscaler_pb2.IsActiveResponse.FromString(await ask(newer)).result is False


async def test_with_rules_it_needs_the_right_subscribe(
    start_server: Callable[..., ServerProcess], tmp_path: Path
) -> None:
    secured = make_secured(tmp_path, "keda")
    rules = rule("keda", "subscribe", topics="order.*")
    server = start_server(*secured.token_flags(), *secured.acl_flags(rules))
    async with connect(server.address) as wire:
        header = (("authorization", f"Bearer {secured.tokens['keda']}"),)
        answer = await scaler(wire).IsActive(scaled(topic="order.created"), metadata=header)
        assert answer.result is False
        denied = await failure_of(scaler(wire).IsActive(scaled(topic="pay"), metadata=header))
        assert (denied.code, denied.metadata["topic"]) == (grpc.StatusCode.PERMISSION_DENIED, "pay")
        request = externalscaler_pb2.GetMetricsRequest(scaledObjectRef=scaled(topic="pay"))
        denied = await failure_of(scaler(wire).GetMetrics(request, metadata=header))
        assert denied.code is grpc.StatusCode.PERMISSION_DENIED
        unknown = await failure_of(scaler(wire).IsActive(scaled(topic="order.created")))
        assert unknown.code is grpc.StatusCode.UNAUTHENTICATED
