"""EventBusAdmin by its generated stubs."""

from typing import Any

import grpc
import grpc.aio
from duebus.errors import from_rpc_error
from duebus.v1 import admin_pb2, admin_pb2_grpc

__all__ = ["Admin"]


class Admin:
    """The service, on a connection of its own."""

    def __init__(self, target: str, credentials: grpc.ChannelCredentials | None, token: str | None) -> None:
        self._channel = (
            grpc.aio.insecure_channel(target) if credentials is None else grpc.aio.secure_channel(target, credentials)
        )
        self._stub: Any = admin_pb2_grpc.EventBusAdminStub(self._channel)  # type: ignore[no-untyped-call]  # generated
        self._metadata = () if token is None else (("authorization", f"Bearer {token}"),)

    async def call(self, method: str, request: bytes, timeout: float) -> bytes:
        """A call, its messages as bytes.

        Args:
            method: For example `GetTopic`.
            request: The request in protobuf's binary format.
            timeout: Seconds.

        Raises:
            DueBusError: it failed.
        """
        message = getattr(admin_pb2, f"{method}Request").FromString(request)
        try:
            response = await getattr(self._stub, method)(message, timeout=timeout, metadata=self._metadata)
        except grpc.RpcError as error:
            raise from_rpc_error(error) from error
        serialized: bytes = response.SerializeToString()
        return serialized

    async def close(self) -> None:
        """Disconnects."""
        await self._channel.close(None)
