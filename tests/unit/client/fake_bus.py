"""A server on a real socket whose answers the test sets. Other tests cover what the bus really does."""

import queue
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator
from concurrent import futures
from dataclasses import dataclass, field
from typing import Any

import grpc
from duebus.v1 import admin_pb2_grpc, event_bus_pb2, event_bus_pb2_grpc
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, RetryInfo
from google.rpc.status_pb2 import Status
from support.redis_server import free_port

STARTED = event_bus_pb2.SubscribeResponse(
    started=event_bus_pb2.Started(
        session_id="session-1",
        max_in_flight=64,
        max_in_flight_bytes=16 * 1024 * 1024,
        lease=Duration(seconds=30),
        disconnect_grace=Duration(seconds=1),
    )
)
_END = object()


def deliveries(*event_ids: str) -> event_bus_pb2.SubscribeResponse:
    """A frame with one delivery for each id; the lease token is `lease-of-` and the id."""
    return event_bus_pb2.SubscribeResponse(
        deliveries=event_bus_pb2.Deliveries(
            deliveries=[
                event_bus_pb2.Delivery(
                    event=event_bus_pb2.Event(id=each, data=each.encode()), lease_token=f"lease-of-{each}"
                )
                for each in event_ids
            ]
        )
    )


@dataclass(frozen=True)
class Failure:
    """A failed call, with the details of the contract."""

    code: grpc.StatusCode
    message: str = ""
    reason: str = ""
    metadata: dict[str, str] = field(default_factory=dict)
    fields: dict[str, str] = field(default_factory=dict)
    retry_after: float | None = None
    more: tuple[Message, ...] = ()

    def trailing_metadata(self) -> tuple[tuple[str, bytes], ...]:
        details = [*self._details(), *self.more]
        if not details:
            return ()
        status = Status(code=self.code.value[0], message=self.message)
        for each in details:
            packed = AnyMessage()
            packed.Pack(each)
            status.details.append(packed)
        return (("grpc-status-details-bin", status.SerializeToString()),)

    def _details(self) -> Iterator[Message]:
        if self.reason:
            yield ErrorInfo(domain="duebus", reason=self.reason, metadata=self.metadata)
        if self.fields:
            violations = [BadRequest.FieldViolation(field=name, description=text) for name, text in self.fields.items()]
            yield BadRequest(field_violations=violations)
        if self.retry_after is not None:
            seconds, rest = divmod(self.retry_after, 1)
            yield RetryInfo(retry_delay=Duration(seconds=int(seconds), nanos=int(rest * 1e9)))

    def abort(self, context: grpc.ServicerContext) -> None:
        context.set_trailing_metadata(self.trailing_metadata())
        context.abort(self.code, self.message)


LOST = Failure(grpc.StatusCode.UNAVAILABLE, "Socket closed")

Answer = Message | Failure | Callable[[Any, grpc.ServicerContext], Message]


class Stream:
    """One open Subscribe call, on the server's side."""

    def __init__(self, context: grpc.ServicerContext) -> None:
        self.ended = threading.Event()
        self._frames: queue.Queue[object] = queue.Queue()
        if not context.add_callback(self._on_end):
            self._on_end()

    def _on_end(self) -> None:
        self.ended.set()
        self._frames.put(_END)

    def send(self, *frames: event_bus_pb2.SubscribeResponse) -> None:
        for frame in frames:
            self._frames.put(frame)

    def end(self) -> None:
        self._frames.put(_END)

    def fail(self, failure: Failure) -> None:
        self._frames.put(failure)

    def frames(self, context: grpc.ServicerContext) -> Iterator[event_bus_pb2.SubscribeResponse]:
        while (frame := self._frames.get()) is not _END:
            if isinstance(frame, Failure):
                frame.abort(context)
            assert isinstance(frame, event_bus_pb2.SubscribeResponse)
            yield frame


class FakeBus:
    """Answers each RPC with what `answer` queued for it, then with an empty response; remembers what it was sent."""

    def __init__(self, port: int = 0) -> None:
        self.requests: dict[str, list[Any]] = defaultdict(list)
        self.metadata: dict[str, list[dict[str, str | bytes]]] = defaultdict(list)
        self.starts_streams = True
        self._answers: dict[str, queue.Queue[Answer]] = defaultdict(queue.Queue)
        self._streams: queue.Queue[Stream] = queue.Queue()
        self._server = grpc.server(futures.ThreadPoolExecutor(16), options=(("grpc.so_reuseport", 0),))
        event_bus_pb2_grpc.add_EventBusServicer_to_server(self, self._server)  # type: ignore[no-untyped-call]
        admin_pb2_grpc.add_EventBusAdminServicer_to_server(self, self._server)  # type: ignore[no-untyped-call]
        self.port = self._server.add_insecure_port(f"127.0.0.1:{port or free_port()}")
        self._server.start()

    @property
    def target(self) -> str:
        return f"127.0.0.1:{self.port}"

    def answer(self, rpc: str, *answers: Answer) -> None:
        for each in answers:
            self._answers[rpc].put(each)

    def next_stream(self) -> Stream:
        return self._streams.get(timeout=10)

    def stop(self) -> None:
        self._server.stop(None).wait()

    # grpc asks the servicer for a method of each RPC's name.
    def __getattr__(self, rpc: str) -> Callable[[Any, grpc.ServicerContext], Message]:
        if not rpc[0].isupper():
            raise AttributeError(rpc)
        return lambda request, context: self._unary(rpc, request, context)

    def _unary(self, rpc: str, request: Any, context: grpc.ServicerContext) -> Message:
        self._note(rpc, request, context)
        try:
            answer = self._answers[rpc].get_nowait()
        except queue.Empty:
            return _default_answer(rpc, request)
        if isinstance(answer, Failure):
            answer.abort(context)
        return answer if isinstance(answer, Message) else answer(request, context)  # type: ignore[operator]

    def Subscribe(  # noqa: N802 - the RPC's name
        self, request: event_bus_pb2.SubscribeRequest, context: grpc.ServicerContext
    ) -> Iterator[event_bus_pb2.SubscribeResponse]:
        self._note("Subscribe", request, context)
        if not self._answers["Subscribe"].empty():
            failure = self._answers["Subscribe"].get()
            assert isinstance(failure, Failure)
            failure.abort(context)
        stream = Stream(context)
        self._streams.put(stream)
        if self.starts_streams:
            yield STARTED
        yield from stream.frames(context)

    def _note(self, rpc: str, request: Message, context: grpc.ServicerContext) -> None:
        self.requests[rpc].append(request)
        self.metadata[rpc].append(dict(context.invocation_metadata()))


def _default_answer(rpc: str, request: Any) -> Message:
    if rpc == "Dispatch":
        ids = [event.id or f"event-{index}" for index, event in enumerate(request.events)]
        return event_bus_pb2.DispatchResponse(event_ids=ids)
    answers: dict[str, Message] = {
        "Ack": event_bus_pb2.AckResponse(),
        "Nack": event_bus_pb2.NackResponse(),
        "Extend": event_bus_pb2.ExtendResponse(),
        "Stop": event_bus_pb2.StopResponse(),
    }
    return answers[rpc]
