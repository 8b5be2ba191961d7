"""A stub server whose answers a case chooses, for answers that the real server would not give."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import count
from typing import Any, NoReturn

import grpc
from conformance.driver import SIGNAL_TIMEOUT_S
from duebus.v1 import error_details_pb2, event_bus_pb2
from google.protobuf.duration_pb2 import Duration
from google.rpc import error_details_pb2 as rpc_details_pb2
from google.rpc import status_pb2


@dataclass(frozen=True)
class Answer:
    """What the stub answers.

    Attributes:
        status: the name of a gRPC status.
        times: how many calls get this answer; later ones succeed with an empty response. None: all calls get it.
        holds: ids of events. A dispatch of one of them alone is answered when it is released, others at once.
        refuses: with `holds`, the ids of events whose dispatches get the status; the others succeed.
        reason: the reason in ErrorInfo; "": the error has no details, like the error of a proxy.
    """

    status: str = "OK"
    message: str = "as the case wants it"
    reason: str = ""
    metadata: dict[str, str] = field(default_factory=dict)
    field_violations: dict[str, str] = field(default_factory=dict)
    retry_after_ms: int | None = None
    stored_engines: tuple[str, ...] = ()
    stored_event_ids: tuple[str, ...] = ()
    times: int | None = None
    holds: frozenset[str] = frozenset()
    refuses: frozenset[str] = frozenset()

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
        self._lock = threading.Lock()
        self._dispatches: list[list[str]] = []
        self._stored: set[str] = set()
        self._held = threading.Semaphore(0)
        self._released = threading.Semaphore(0)
        self._server = grpc.server(ThreadPoolExecutor(4), handlers=[self])
        self.address = f"127.0.0.1:{self._server.add_insecure_port('127.0.0.1:0')}"
        self._server.start()

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[Any, Any]:
        """Handle every method."""
        if handler_call_details.method.endswith("/Subscribe"):
            return grpc.unary_stream_rpc_method_handler(self._speak)
        if self._answer.holds and handler_call_details.method.endswith("/Dispatch"):
            return grpc.unary_unary_rpc_method_handler(self._dispatch)
        return grpc.unary_unary_rpc_method_handler(self._speak)

    def wait_until_held(self) -> None:
        """Wait for the next dispatch that is held.

        Raises:
            TimeoutError: none has arrived.
        """
        if not self._held.acquire(timeout=SIGNAL_TIMEOUT_S):
            raise TimeoutError(f"no dispatch within {SIGNAL_TIMEOUT_S:g} s")

    def release(self) -> None:
        """Answer the dispatch that is held."""
        self._released.release()

    def dispatches(self) -> list[list[str]]:
        """The event ids of each dispatch that has arrived; both are sorted."""
        return sorted(sorted(event_ids) for event_ids in self._dispatches)

    def close(self) -> None:
        """Stop the server."""
        self._released.release(len(self._answer.holds) or 1)
        self._server.stop(0).wait()

    def _dispatch(self, request: bytes, context: grpc.ServicerContext) -> bytes:
        """Store the events unless one is refused. An id that is already stored is a duplicate."""
        event_ids = [event.id for event in event_bus_pb2.DispatchRequest.FromString(request).events]
        self._dispatches.append(event_ids)
        if len(event_ids) == 1 and event_ids[0] in self._answer.holds:
            self._held.release()
            self._released.acquire(timeout=SIGNAL_TIMEOUT_S)
        if not self._answer.refuses.isdisjoint(event_ids):
            self._refuse(context)
        with self._lock:
            duplicates = self._stored.intersection(event_ids)
            self._stored.update(event_ids)
        return event_bus_pb2.DispatchResponse(event_ids=event_ids, duplicate_event_ids=duplicates).SerializeToString()

    def _speak(self, _: bytes, context: grpc.ServicerContext) -> bytes:
        answer = self._answer
        if answer.times is not None and next(self._calls) > answer.times:
            return b""
        return self._refuse(context)

    def _refuse(self, context: grpc.ServicerContext) -> NoReturn:
        answer = self._answer
        context.set_trailing_metadata(answer.trailers())
        context.abort(grpc.StatusCode[answer.status], answer.message)
        raise AssertionError("abort raises")
