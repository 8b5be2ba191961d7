"""A call to the server as data: what is sent, how the answer is read, whether it may be repeated."""

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
        request: What is sent, the same on each try.
        read: From the answer, and whether an earlier try failed, to the caller's result.
        repeatable: A second try can't do harm, so that UNAVAILABLE is retried.
        waits: It answers when something is done that takes its time: the client's default timeout does not apply.
    """

    method: Method[ResponseT]
    request: Message
    read: Callable[[ResponseT, bool], ResultT]
    repeatable: bool = True
    waits: bool = False


def serialize(request: Message) -> bytes:
    """What grpc sends of a request."""
    return request.SerializeToString()


SUBSCRIBE = Method("/duebus.v1.EventBus/Subscribe", event_bus_pb2.SubscribeResponse, streams=True)
