"""The guard on a small server: a client sees only the log id of an internal error."""

from __future__ import annotations

import asyncio
import gc
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any
from unittest.mock import AsyncMock, Mock

import grpc
import grpc.aio
import pytest
import structlog
from duebus.v1 import event_bus_pb2
from duebus_server.domain.errors import DispatcherNotWorking, NotFound
from duebus_server.wire import status
from duebus_server.wire.grpc_server import GrpcServer
from duebus_server.wire.guard import Guard
from structlog.testing import LogCapture
from support.wire import SIGNAL_TIMEOUT_S, Failure, Wire, connect, failure_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, MutableMapping

SECRET = "payload-nobody-may-see"
FRAME_BYTES = 8 << 20
"""More than fits into the buffers in between: writes wait for the reader."""

DISPATCH = event_bus_pb2.DispatchRequest(topic="orders", events=[event_bus_pb2.Event(data=SECRET.encode())])
SUBSCRIBE = event_bus_pb2.SubscribeRequest(topic="orders")

Log = list["MutableMapping[str, Any]"]


class Behaviour:
    """What the two methods of the server do."""

    def __init__(self) -> None:
        self.error: Exception | None = None
        self.calls = 0
        self.ends: list[str] = []
        self.ended = asyncio.Event()

    async def dispatch(self, request: event_bus_pb2.DispatchRequest, _context: Any) -> event_bus_pb2.DispatchResponse:
        """Answer, or fail."""
        self.calls += 1
        if self.error is not None:
            raise self.error
        return event_bus_pb2.DispatchResponse(event_ids=[request.topic])

    async def subscribe(self, _request: event_bus_pb2.SubscribeRequest, context: Any) -> None:
        """Fail after the first frame, or send frames without end."""
        self.calls += 1
        try:
            await context.write(event_bus_pb2.SubscribeResponse())
            if self.error is not None:
                raise self.error  # noqa: TRY301  # as a method does
            while True:
                frame = event_bus_pb2.SubscribeResponse()
                frame.started.session_id = "x" * FRAME_BYTES
                await context.write(frame)
        except BaseException as error:
            self.ends.append(type(error).__name__)
            raise
        finally:
            self.ended.set()


@pytest.fixture
def behaviour() -> Behaviour:
    return Behaviour()


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> Log:
    """What the guard has logged."""
    capture = LogCapture()
    monkeypatch.setattr(status, "log", structlog.wrap_logger(None, processors=[capture]))
    return capture.entries


@asynccontextmanager
async def serving(behaviour: Behaviour, guard: Guard | None = None) -> AsyncIterator[Wire]:
    guard = guard or Guard()
    server = GrpcServer((), guard.admit)
    handlers = {
        "Dispatch": grpc.unary_unary_rpc_method_handler(
            behaviour.dispatch,
            event_bus_pb2.DispatchRequest.FromString,
            event_bus_pb2.DispatchResponse.SerializeToString,
        ),
        "Subscribe": grpc.unary_stream_rpc_method_handler(
            behaviour.subscribe,
            event_bus_pb2.SubscribeRequest.FromString,
            event_bus_pb2.SubscribeResponse.SerializeToString,
        ),
    }
    service = "duebus.v1.EventBus"
    server.register(service, {name: guard.wrap(f"/{service}/{name}", each) for name, each in handlers.items()})
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        async with connect(f"127.0.0.1:{port}") as wire:
            yield wire
    finally:
        await server.stop(None)


async def failure_of_stream(wire: Wire, request: Any = SUBSCRIBE) -> Failure:
    """How a stream ends, after any frames."""

    async def read() -> None:
        async for _ in wire.bus.Subscribe(request):
            pass

    return await failure_of(read())


async def test_a_successful_call_is_unchanged(behaviour: Behaviour) -> None:
    async with serving(behaviour) as wire:
        assert (await wire.bus.Dispatch(DISPATCH)).event_ids == ["orders"]


async def test_an_unexpected_error_reaches_the_client_only_as_a_log_id(behaviour: Behaviour, log: Log) -> None:
    behaviour.error = KeyError(SECRET)
    async with serving(behaviour) as wire:
        unary = await failure_of(wire.bus.Dispatch(DISPATCH))
        stream = await failure_of_stream(wire)
    for failure in (unary, stream):
        assert (failure.code, failure.reason, failure.domain) == (grpc.StatusCode.INTERNAL, "INTERNAL", "duebus")
        assert SECRET not in repr(failure)
        assert "KeyError" not in repr(failure)
        assert failure.metadata.keys() == {"log_id"}
        assert failure.metadata["log_id"] in failure.message
        assert (failure.fields, failure.retry_after_us) == ([], None)
    assert unary.metadata != stream.metadata
    logged = [entry for entry in log if entry["event"] == "unexpected error"]
    assert [entry["log_id"] for entry in logged] == [unary.metadata["log_id"], stream.metadata["log_id"]]
    assert [entry["method"].rpartition("/")[2] for entry in logged] == ["Dispatch", "Subscribe"]
    assert all(isinstance(entry["exc_info"], KeyError) for entry in logged)


async def test_a_domain_error_is_a_status_and_is_not_logged(behaviour: Behaviour, log: Log) -> None:
    behaviour.error = DispatcherNotWorking("engine local is draining", retry_after_us=1_000_000)
    async with serving(behaviour) as wire:
        for failure in (await failure_of(wire.bus.Dispatch(DISPATCH)), await failure_of_stream(wire)):
            assert (failure.code, failure.message) == (grpc.StatusCode.UNAVAILABLE, "engine local is draining")
            assert (failure.reason, failure.retry_after_us) == ("DISPATCHER_NOT_WORKING", 1_000_000)
    assert log == []


async def test_text_in_any_language_survives_in_the_status(behaviour: Behaviour) -> None:
    behaviour.error = NotFound("event", "größe-名-🎉%25", topic="orders")
    async with serving(behaviour) as wire:
        failure = await failure_of(wire.bus.Dispatch(DISPATCH))
    assert failure.message == "no event 'größe-名-🎉%25'"
    assert failure.metadata == {"topic": "orders", "event": "größe-名-🎉%25"}


@pytest.mark.parametrize("garbage", [b"\xff\xff\xff" + SECRET.encode(), b"\x0a\xffshort", b"\x0a\x02\xff\xfe"])
async def test_bytes_that_are_not_a_request_are_bad_input(behaviour: Behaviour, log: Log, garbage: bytes) -> None:
    async with serving(behaviour) as wire:
        failure = await failure_of(wire.raw("EventBus/Dispatch")(garbage))
        stream = await failure_of(wire.raw_stream("EventBus/Subscribe")(garbage).read())
    for each in (failure, stream):
        assert (each.code, each.reason, each.fields) == (
            grpc.StatusCode.INVALID_ARGUMENT,
            "INVALID_ARGUMENT",
            ["request"],
        )
        assert SECRET not in repr(each)
    assert (behaviour.calls, log) == (0, [])


async def test_a_call_without_a_message_is_bad_input(behaviour: Behaviour, log: Log) -> None:
    async with serving(behaviour) as wire:
        channel: Any = wire.channel
        for method in ("Dispatch", "Subscribe"):
            call = channel.stream_stream(f"/duebus.v1.EventBus/{method}")(iter(()))
            failure = await failure_of(call.read())
            assert (failure.code, failure.fields) == (grpc.StatusCode.INVALID_ARGUMENT, ["request"])
    assert (behaviour.calls, log) == (0, [])


async def test_unknown_fields_are_refused_before_anything_is_done(behaviour: Behaviour) -> None:
    async with serving(behaviour) as wire:
        failure = await failure_of(wire.raw("EventBus/Dispatch")(DISPATCH.SerializeToString() + b"\xa8\x06\x01"))
        stream = await failure_of(wire.raw_stream("EventBus/Subscribe")(b"\x0a\x01t\xa8\x06\x01").read())
    assert failure.fields == stream.fields == ["101"]
    assert behaviour.calls == 0


async def test_a_method_that_does_not_exist_is_unimplemented(behaviour: Behaviour) -> None:
    async with serving(behaviour) as wire:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await wire.raw("EventBus/NoSuchMethod")(b"")
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


async def test_a_client_that_cancels_during_a_write_is_not_an_error(behaviour: Behaviour, log: Log) -> None:
    """Its windows are full, so the server is in the middle of a write. The method is cancelled, and cleans up."""
    async with serving(behaviour) as wire, connect_to(wire, grpc__max_receive_message_length=-1) as patient:
        for _ in range(20):
            behaviour.ended.clear()
            call = patient.bus.Subscribe(SUBSCRIBE)
            await call.read()
            call.cancel()
            await asyncio.wait_for(behaviour.ended.wait(), SIGNAL_TIMEOUT_S)
    assert len(behaviour.ends) == 20
    assert log == []


async def test_a_client_that_refuses_a_frame_is_not_an_error(behaviour: Behaviour, log: Log) -> None:
    async with serving(behaviour) as wire, connect_to(wire) as picky:  # it takes 4 MiB
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            async for _ in picky.bus.Subscribe(SUBSCRIBE):
                pass
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        await asyncio.wait_for(behaviour.ended.wait(), SIGNAL_TIMEOUT_S)
    assert log == []


async def test_calls_leave_nothing_to_the_garbage_collector(behaviour: Behaviour) -> None:
    def calls() -> int:
        return sum(type(each).__name__ in ("RPCState", "AbortError") for each in gc.get_objects())

    async with serving(behaviour) as wire:
        await wire.bus.Dispatch(DISPATCH)  # from then on, each method has calls waiting to be accepted
        gc.collect()
        gc.disable()
        try:
            before = calls()
            await asyncio.gather(*(wire.bus.Dispatch(DISPATCH) for _ in range(50)))
            await asyncio.gather(*(failure_of(wire.raw("EventBus/Dispatch")(b"\xff")) for _ in range(50)))
            assert calls() - before < 20
        finally:
            gc.enable()


async def test_it_knows_whether_a_call_is_running(behaviour: Behaviour) -> None:
    guard = Guard()
    async with serving(behaviour, guard) as wire:
        assert guard.idle.is_set()
        call = wire.bus.Subscribe(SUBSCRIBE)
        await call.read()
        assert not guard.idle.is_set()
        assert (await wire.bus.Dispatch(DISPATCH)).event_ids == ["orders"]
        assert not guard.idle.is_set()
        call.cancel()
        await asyncio.wait_for(guard.idle.wait(), SIGNAL_TIMEOUT_S)
        behaviour.error = KeyError("fails")
        await failure_of(wire.bus.Dispatch(DISPATCH))
        await asyncio.wait_for(guard.idle.wait(), SIGNAL_TIMEOUT_S)


@pytest.mark.parametrize("error", [asyncio.CancelledError(), grpc.aio.InternalError("a write failed")])
async def test_a_call_whose_client_is_gone_ends_as_cancelled(error: BaseException) -> None:
    """Returning normally after a cancel leaks memory in gRPC."""

    async def behaviour(_request: Any, _context: Any) -> None:
        raise error

    context = Mock(read=AsyncMock(return_value=b""))
    with pytest.raises(asyncio.CancelledError):
        await Guard()._guard(behaviour, event_bus_pb2.SubscribeRequest.FromString, "Subscribe")(None, context)


@asynccontextmanager
async def connect_to(wire: Wire, **options: Any) -> AsyncIterator[Wire]:
    """Another client of the same server."""
    async with connect(wire.address, **options) as other:
        yield other
