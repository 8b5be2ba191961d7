"""A stub server that answers calls, all or the first few, with one status that the real server would not send."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import grpc
from duebus.v1 import error_details_pb2
from google.protobuf.duration_pb2 import Duration
from google.rpc import error_details_pb2 as rpc_details_pb2
from google.rpc import status_pb2


@dataclass(frozen=True)
class Answer:
    """What the stub answers.

    Attributes:
        status: the name of a gRPC status.
        times: how many calls get this answer; later ones succeed with an empty response. None: all calls get it.
        reason: the reason in ErrorInfo; "": the error has no details, like the error of a proxy.
    """

    status: str
    message: str = "as the case wants it"
    reason: str = ""
    metadata: dict[str, str] = field(default_factory=dict)
    field_violations: dict[str, str] = field(default_factory=dict)
    retry_after_ms: int | None = None
    stored_engines: tuple[str, ...] = ()
    stored_event_ids: tuple[str, ...] = ()
    times: int | None = None

    def trailers(self) -> tuple[tuple[str, bytes], ...]:
        """The serialized details."""
        if not self.reason:
            return ()
        status = status_pb2.Status(code=grpc.StatusCode[self.status].value[0], message=self.message)
        for detail in self._details():
            status.details.add().Pack(detail)
        return (("grpc-status-details-bin", status.SerializeToString()),)

    def _details(self) -> list[Any]:
        details: list[Any] = [rpc_details_pb2.ErrorInfo(domain="duebus", reason=self.reason, metadata=self.metadata)]
        if self.field_violations:
            fields = [{"field": name, "description": why} for name, why in self.field_violations.items()]
            details.append(rpc_details_pb2.BadRequest(field_violations=fields))
        if self.retry_after_ms is not None:
            delay = Duration()
            delay.FromMilliseconds(self.retry_after_ms)
            details.append(rpc_details_pb2.RetryInfo(retry_delay=delay))
        if self.stored_engines:
            engines = [f"ENGINE_{name.upper()}" for name in self.stored_engines]
            details.append(error_details_pb2.PartialDispatch(stored_engines=engines, event_ids=self.stored_event_ids))
        return details


class StubServer(grpc.GenericRpcHandler):  # type: ignore[type-arg]  # generic in the stubs alone
    """The stub server.

    Attributes:
        address: HOST:PORT.
    """

    def __init__(self, answer: Answer) -> None:
        self._answer = answer
        self._calls = count(1)
        self._server = grpc.server(ThreadPoolExecutor(4), handlers=[self])
        self.address = f"127.0.0.1:{self._server.add_insecure_port('127.0.0.1:0')}"
        self._server.start()

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[Any, Any]:
        """Handle every method."""
        if handler_call_details.method.endswith("/Subscribe"):
            return grpc.unary_stream_rpc_method_handler(self._speak)
        return grpc.unary_unary_rpc_method_handler(self._speak)

    def close(self) -> None:
        """Stop the server."""
        self._server.stop(0).wait()

    def _speak(self, _: bytes, context: grpc.ServicerContext) -> bytes:
        answer = self._answer
        if answer.times is not None and next(self._calls) > answer.times:
            return b""
        context.set_trailing_metadata(answer.trailers())
        context.abort(grpc.StatusCode[answer.status], answer.message)
        raise AssertionError("abort raises")
