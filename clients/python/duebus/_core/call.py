"""A call to the server as data: its request, how the answer is read, and whether it may be retried."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from google.protobuf.message import Message

from duebus.v1 import event_bus_pb2

ResponseT = TypeVar("ResponseT", bound=Message)
ResultT = TypeVar("ResultT")


@dataclass(frozen=True, slots=True)
class Method(Generic[ResponseT]):
    """An RPC of the server: its path, the type of its answer, and whether it answers with a stream."""

    path: str
    response: type[ResponseT]
    streams: bool = False


@dataclass(frozen=True, slots=True)
class Call(Generic[ResponseT, ResultT]):
    """One unary call.

    Attributes:
        method: The RPC.
        request: The request, the same on each try.
        read: Makes the caller's result from the answer and whether an earlier try failed.
        repeatable: A retry does no harm, so UNAVAILABLE is retried.
        waits: It answers only once something slow is done, so the client's default timeout does not apply.
    """

    method: Method[ResponseT]
    request: Message
    read: Callable[[ResponseT, bool], ResultT]
    repeatable: bool = True
    waits: bool = False


def serialize(request: Message) -> bytes:
    """Serializes a request for grpc."""
    return request.SerializeToString()


SUBSCRIBE = Method("/duebus.v1.EventBus/Subscribe", event_bus_pb2.SubscribeResponse, streams=True)
