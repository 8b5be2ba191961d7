"""Random calls of every method of every service, through gRPC: with and without credentials, whole and broken off."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio
from duebus.keda import externalscaler_pb2
from duebus.v1 import admin_pb2, event_bus_pb2
from fuzz.messages import Messages
from google.protobuf import message_factory
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from random import Random

    from google.protobuf.descriptor import MethodDescriptor

SERVICES = (
    event_bus_pb2.DESCRIPTOR.services_by_name["EventBus"],
    admin_pb2.DESCRIPTOR.services_by_name["EventBusAdmin"],
    externalscaler_pb2.DESCRIPTOR.services_by_name["ExternalScaler"],
    health_pb2.DESCRIPTOR.services_by_name["Health"],
    reflection_pb2.DESCRIPTOR.services_by_name["ServerReflection"],
)
METHODS = tuple(method for service in SERVICES for method in service.methods)
WEIGHTS = {"Dispatch": 6.0, "Subscribe": 2.0, "DeleteTopic": 0.3, "DeleteGroup": 0.3}
"""More calls that make and deliver events, fewer that remove them all."""

CALL_S = 20.0
"""The deadline of a call that is not broken off."""

HANG_S = 40.0
"""A call that takes longer hangs: even its deadline did not end it."""

STREAM_S = 0.05
"""How long a stream is read."""

FRAMES = 5
SENT_TOO_LATE = "Internal error from Core"
"""The message of gRPC's client if the server ends a call before all of its requests were sent."""

CREDENTIALS = 0.9
"""The share of calls that have the right token."""

Metadata = tuple[tuple[str, str | bytes], ...]


class Calls:
    """Makes one call after the other.

    Args:
        address: the server's address.
        token: a valid token.
        random: decides everything.
        methods: the methods to call.

    Attributes:
        statuses: how many calls ended with each status, by its name, or "UNANSWERED", "HANG", "BROKEN_OFF" (by this
            side), "SENT_TOO_LATE" (the server had ended the call before all of it was sent).
        faults: descriptions of what happened against the contract.
    """

    def __init__(self, address: str, token: str, random: Random, methods: Sequence[MethodDescriptor] = METHODS) -> None:
        self._random = random
        self._token = token
        self._methods = methods
        self._weights = [WEIGHTS.get(method.name, 1.0) for method in methods]
        self._messages = Messages(random)
        # The stubs' types do not know that bytes are sent unchanged.
        self._channel: Any = grpc.aio.insecure_channel(
            address, options=(("grpc.use_local_subchannel_pool", 1), ("grpc.max_receive_message_length", -1))
        )
        self.statuses: Counter[str] = Counter()
        self.faults: list[str] = []

    async def close(self) -> None:
        await self._channel.close()

    async def make(self) -> int:
        """Make one call; returns 1."""
        (method,) = self._random.choices(self._methods, self._weights)
        count = self._random.choices((1, 0, 2, 5), (96, 1, 2, 1))[0]
        requests = [self._messages.request(method) for _ in range(count)]
        status = "HANG"
        with suppress(TimeoutError):
            async with asyncio.timeout(HANG_S):
                status = await self._status(method, requests)
        self.statuses[status] += 1
        if status in ("INTERNAL", "UNKNOWN", "UNANSWERED", "HANG"):
            shown = ", ".join(repr(one[:300]) for one in requests)
            self.faults.append(f"{method.full_name}({shown}) ended with {status}: {self._details}")
        return 1

    async def _status(self, method: MethodDescriptor, requests: list[bytes]) -> str:
        self._details = ""
        path = f"/{method.containing_service.full_name}/{method.name}"
        streams = len(requests) != 1 or method.client_streaming
        open_call = (self._channel.stream_stream if streams else self._channel.unary_stream)(path)
        deadline_s = self._random.choices((CALL_S, 0.0, 0.001, 0.02), (90, 2, 3, 5))[0]
        call = open_call(
            _each(requests) if streams else requests[0],
            timeout=deadline_s,
            metadata=self._metadata(),
            compression=self._random.choices((None, grpc.Compression.Gzip), (98, 2))[0],
        )
        breaking_off = self._random.random() < 0.05
        try:
            if breaking_off:
                await asyncio.sleep(self._random.choice((0, 0.001, 0.01)))
            else:
                await self._read(call, method)
        except grpc.aio.AioRpcError as error:
            self._details = str(error.details())
            if self._details == SENT_TOO_LATE:
                return "SENT_TOO_LATE"
            # The server's own answer, to a request that is slow to arrive, has other details.
            unanswered = self._details == "Deadline Exceeded" and deadline_s == CALL_S
            return "UNANSWERED" if unanswered else error.code().name
        except asyncio.CancelledError:
            if not call.cancelled():
                raise
            return "SENT_TOO_LATE"
        finally:
            call.cancel()
        return "BROKEN_OFF" if breaking_off else "OK"

    async def _read(self, call: Any, method: MethodDescriptor) -> None:
        """Runs a unary call to its end, or reads the first frames of a stream and then cancels it."""
        answer_type: Any = message_factory.GetMessageClass(method.output_type)
        seconds = STREAM_S if method.server_streaming else None
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                for _ in range(FRAMES):
                    received = await call.read()
                    if not isinstance(received, bytes):
                        await call.code()
                        return
                    self._messages.learn(answer_type.FromString(received))

    def _metadata(self) -> Metadata:
        right: Metadata = (("authorization", f"Bearer {self._token}"),)
        if self._random.random() < CREDENTIALS:
            return right
        return self._random.choice(
            (
                (),
                right + right,
                (("authorization", ""),),
                (("authorization", "Bearer " + "x" * self._random.choice((0, 40, 4_000))),),
                (("authorization", f"Basic {self._token}"),),
                (("authorization", "Bearer eyJhbGciOiJub25lIn0.e30."),),
                (*right, ("traceparent", "00-" + "0" * 32 + "-0-zz")),
                (*right, ("grpc-trace-bin", self._random.randbytes(20))),
                (*right, ("x-long", "y" * self._random.choice((100, 9_000, 20_000)))),
                (*right, *((f"x-{number}", "y") for number in range(200))),
            )
        )


async def _each(requests: list[bytes]) -> AsyncIterator[bytes]:
    for request in requests:
        yield request
