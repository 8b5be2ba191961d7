"""The wire as any client sees it: generated stubs, the frames of a stream, and the details of an error."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import grpc
import grpc.aio
import pytest
from duebus.v1 import admin_pb2, admin_pb2_grpc, error_details_pb2, event_bus_pb2, event_bus_pb2_grpc
from google.protobuf.duration_pb2 import Duration
from google.rpc import error_details_pb2 as rpc_details_pb2
from google.rpc import status_pb2

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Sequence

SIGNAL_TIMEOUT_S = 30.0
"""How long a test waits for a signal."""

US = 1_000_000


def figure(text: str) -> None:
    """Print a measurement; pytest shows it with ``-s``, or when the test fails."""
    print(text)  # noqa: T201  # pytest captures it


def us(timestamp: Any) -> int:
    """A Timestamp or Duration in microseconds."""
    return int(timestamp.ToMicroseconds())


def duration(seconds: float) -> Duration:
    """A Duration from seconds."""
    made = Duration()
    made.FromMicroseconds(round(seconds * US))
    return made


def event(event_id: str = "", data: bytes = b"", **fields: Any) -> event_bus_pb2.Event:
    """An event; ``delay`` may be in seconds."""
    if isinstance(fields.get("delay"), int | float):
        fields["delay"] = duration(fields["delay"])
    return event_bus_pb2.Event(id=event_id, data=data, **fields)


def ids(deliveries: Sequence[event_bus_pb2.Delivery]) -> list[str]:
    """The events' ids, in order."""
    return [delivery.event.id for delivery in deliveries]


def tokens(deliveries: Sequence[event_bus_pb2.Delivery]) -> list[str]:
    """The lease tokens, in order."""
    return [delivery.lease_token for delivery in deliveries]


@dataclass(frozen=True)
class Failure:
    """How a call failed, read from its status and the details in its trailers."""

    code: grpc.StatusCode
    message: str
    reason: str
    domain: str
    metadata: dict[str, str]
    fields: list[str]
    retry_after_us: int | None
    partial: error_details_pb2.PartialDispatch | None

    @classmethod
    def of(cls, error: grpc.aio.AioRpcError) -> Failure:
        """Reads the error. Asserts that the status in its details is that of the call."""
        trailers: dict[str, Any] = dict(error.trailing_metadata())  # type: ignore[arg-type]  # pairs, despite the stubs
        raw = trailers.get("grpc-status-details-bin")
        assert isinstance(raw, bytes), f"no details: {error!r}"
        status = status_pb2.Status.FromString(raw)
        assert (status.code, status.message) == (error.code().value[0], error.details())
        info, bad, retry = rpc_details_pb2.ErrorInfo(), rpc_details_pb2.BadRequest(), rpc_details_pb2.RetryInfo()
        partial = error_details_pb2.PartialDispatch()
        found = {
            part.DESCRIPTOR for detail in status.details for part in (info, bad, retry, partial) if detail.Unpack(part)
        }
        return cls(
            error.code(),
            status.message,
            info.reason,
            info.domain,
            dict(info.metadata),
            [violation.field for violation in bad.field_violations],
            us(retry.retry_delay) if retry.DESCRIPTOR in found else None,
            partial if partial.DESCRIPTOR in found else None,
        )


async def failure_of(call: Awaitable[Any]) -> Failure:
    """The failure of a call that must fail."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await asyncio.wait_for(call, SIGNAL_TIMEOUT_S)
    return Failure.of(caught.value)


class Stream:
    """One Subscribe, read as fast as frames arrive.

    Attributes:
        started: the first frame.
        frames: every frame after it, in order.
    """

    started: event_bus_pb2.Started

    def __init__(self, call: Any) -> None:
        self.call = call
        self.frames: list[event_bus_pb2.SubscribeResponse] = []
        self._unseen: asyncio.Queue[event_bus_pb2.SubscribeResponse | Exception | None] = asyncio.Queue()
        self._ahead: list[event_bus_pb2.Delivery] = []
        self._reader = asyncio.create_task(self._read())

    async def start(self) -> Self:
        """Wait for the first frame."""
        frame = await self.next_frame()
        assert frame is not None
        assert frame.WhichOneof("frame") == "started"
        self.started = frame.started
        self.frames.clear()
        return self

    async def next_frame(self) -> event_bus_pb2.SubscribeResponse | None:
        """The next frame; None when the server has ended the stream with OK.

        Raises:
            grpc.aio.AioRpcError: it ended with another status.
        """
        frame = await asyncio.wait_for(self._unseen.get(), SIGNAL_TIMEOUT_S)
        if isinstance(frame, Exception):
            raise frame
        if frame is not None:
            self.frames.append(frame)
        return frame

    async def take(self, count: int) -> list[event_bus_pb2.Delivery]:
        """The next ``count`` deliveries, over as many frames as they take."""
        while len(self._ahead) < count:
            frame = await self.next_frame()
            assert frame is not None, "the stream has ended"
            kind = frame.WhichOneof("frame")
            assert kind in ("deliveries", "heartbeat"), frame
            self._ahead.extend(frame.deliveries.deliveries)
        taken, self._ahead = self._ahead[:count], self._ahead[count:]
        return taken

    async def one(self) -> event_bus_pb2.Delivery:
        """The next delivery."""
        return (await self.take(1))[0]

    def come(self) -> list[event_bus_pb2.Delivery]:
        """The deliveries that have arrived."""
        taken, self._ahead = self._ahead, []
        while not self._unseen.empty():
            frame = self._unseen.get_nowait()
            assert isinstance(frame, event_bus_pb2.SubscribeResponse), frame
            self.frames.append(frame)
            taken.extend(frame.deliveries.deliveries)
        return taken

    async def more(self) -> None:
        """Wait for a frame without a timeout."""
        self._unseen.put_nowait(await self._unseen.get())

    async def closing(self) -> event_bus_pb2.Closing:
        """Wait for the closing frame, with no delivery before it, and then the end of the stream with OK."""
        frame = await self.next_frame()
        while frame is not None and frame.WhichOneof("frame") == "heartbeat":
            frame = await self.next_frame()
        assert frame is not None, "the stream has ended"
        assert frame.WhichOneof("frame") == "closing", frame
        assert await self.next_frame() is None
        assert await self.call.code() is grpc.StatusCode.OK
        return frame.closing

    async def cancel(self) -> None:
        self.call.cancel()
        await asyncio.wait((self._reader,))

    async def _read(self) -> None:
        try:
            async for frame in self.call:
                self._unseen.put_nowait(frame)
        except grpc.aio.AioRpcError as error:
            self._unseen.put_nowait(error)
        else:
            self._unseen.put_nowait(None)


class Wire:
    """The services of one server on a separate channel."""

    def __init__(self, address: str, **options: Any) -> None:
        self.address = address
        # Channels share connections by default; here each is a separate client.
        own = [
            ("grpc.use_local_subchannel_pool", 1),
            *((key.replace("__", "."), each) for key, each in options.items()),
        ]
        self.channel = grpc.aio.insecure_channel(address, options=own)
        self.bus: Any = event_bus_pb2_grpc.EventBusStub(self.channel)  # type: ignore[no-untyped-call]  # generated
        self.admin: Any = admin_pb2_grpc.EventBusAdminStub(self.channel)  # type: ignore[no-untyped-call]  # generated
        self._streams: list[Stream] = []

    def raw(self, method: str) -> Any:
        """A method, such as ``EventBus/Dispatch``, that takes and returns bytes."""
        return self.channel.unary_unary(f"/duebus.v1.{method}", None, None)

    def raw_stream(self, method: str) -> Any:
        """A method that takes bytes and streams bytes."""
        return self.channel.unary_stream(f"/duebus.v1.{method}", None, None)

    async def close(self) -> None:
        """Cancel the open streams."""
        for stream in self._streams:
            await stream.cancel()
        await self.channel.close(None)

    async def dispatch(
        self, topic: str, *events: event_bus_pb2.Event | str, **fields: Any
    ) -> event_bus_pb2.DispatchResponse:
        """One Dispatch; a string is an event of that id, due at once."""
        made = [event(each) if isinstance(each, str) else each for each in events]
        answer: event_bus_pb2.DispatchResponse = await self.bus.Dispatch(
            event_bus_pb2.DispatchRequest(topic=topic, events=made, **fields)
        )
        return answer

    async def subscribe(self, topic: str, **fields: Any) -> Stream:
        """A stream that has started; ``lease`` and ``disconnect_grace`` may be in seconds."""
        for name in ("lease", "disconnect_grace"):
            if name in fields:
                fields[name] = duration(fields[name])
        return await self.open(event_bus_pb2.SubscribeRequest(topic=topic, **fields)).start()

    def open(self, request: event_bus_pb2.SubscribeRequest) -> Stream:
        """A stream, without waiting for its first frame."""
        stream = Stream(self.bus.Subscribe(request))
        self._streams.append(stream)
        return stream

    async def ack(self, *deliveries: event_bus_pb2.Delivery | str) -> list[event_bus_pb2.LeaseFailure]:
        """One Ack; the leases that could not be acked."""
        answer = await self.bus.Ack(event_bus_pb2.AckRequest(lease_tokens=[_token(each) for each in deliveries]))
        return list(answer.failures)

    async def nack(self, *deliveries: event_bus_pb2.Delivery | str, **fields: Any) -> list[event_bus_pb2.LeaseFailure]:
        """One Nack of all, each in the same way."""
        nacks = [event_bus_pb2.Nack(lease_token=_token(each), **fields) for each in deliveries]
        answer = await self.bus.Nack(event_bus_pb2.NackRequest(nacks=nacks))
        return list(answer.failures)

    async def extend(
        self, *deliveries: event_bus_pb2.Delivery | str, **fields: Any
    ) -> list[event_bus_pb2.LeaseFailure]:
        request = event_bus_pb2.ExtendRequest(lease_tokens=[_token(each) for each in deliveries], **fields)
        return list((await self.bus.Extend(request)).failures)

    async def stop(self, **fields: Any) -> list[event_bus_pb2.StoppedEngine]:
        return list((await self.bus.Stop(event_bus_pb2.StopRequest(**fields))).engines)

    async def topic(self, name: str) -> admin_pb2.TopicInfo:
        """One topic from outside."""
        answer = await self.admin.GetTopic(admin_pb2.GetTopicRequest(topic=name))
        info: admin_pb2.TopicInfo = answer.topic
        return info

    async def group(self, topic: str, group: str = "default") -> admin_pb2.GroupInfo:
        """One group from outside."""
        return next(info for info in (await self.topic(topic)).groups if info.group == group)

    async def until_subscribers(self, topic: str, count: int, group: str = "default") -> None:
        """Wait until the group has ``count`` subscribers; the server learns of a stream's end a moment later.

        Raises:
            TimeoutError: it never has.
        """
        async with asyncio.timeout(SIGNAL_TIMEOUT_S):
            while len((await self.group(topic, group)).subscribers) != count:
                pass  # each check is a round trip

    async def find_event(self, topic: str, event_id: str) -> admin_pb2.EventInfo:
        """One event from outside."""
        answer = await self.admin.GetEvent(admin_pb2.GetEventRequest(topic=topic, event_id=event_id))
        info: admin_pb2.EventInfo = answer.event
        return info

    async def topic_names(self) -> list[str]:
        """Every topic the server has."""
        names: list[str] = []
        request = admin_pb2.ListTopicsRequest(page_size=1000)
        while True:
            answer = await self.admin.ListTopics(request)
            names += [info.topic for info in answer.topics]
            if not answer.next_page_token:
                return names
            request.page_token = answer.next_page_token


@asynccontextmanager
async def connect(address: str, **options: Any) -> AsyncIterator[Wire]:
    """A client with its own connection; channel options as ``grpc__name=value``."""
    wire = Wire(address, **options)
    try:
        yield wire
    finally:
        await wire.close()


def _token(delivery: event_bus_pb2.Delivery | str) -> str:
    return delivery if isinstance(delivery, str) else delivery.lease_token
