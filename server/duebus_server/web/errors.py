"""Errors over HTTP: those of the Connect protocol (https://connectrpc.com/docs/protocol/#error-end-stream).

The code, the text and the details are those of the gRPC status.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from google.protobuf.json_format import MessageToDict
from google.rpc import error_details_pb2, status_pb2
from starlette.responses import JSONResponse

from duebus_server.domain.clock import SECOND

if TYPE_CHECKING:
    from google.protobuf.any_pb2 import Any as AnyMessage

    from duebus_server.wire.status import Status

HTTP_STATUS = {
    "canceled": 499,
    "unknown": 500,
    "invalid_argument": 400,
    "deadline_exceeded": 504,
    "not_found": 404,
    "already_exists": 409,
    "permission_denied": 403,
    "resource_exhausted": 429,
    "failed_precondition": 400,
    "aborted": 409,
    "unimplemented": 501,
    "internal": 500,
    "unavailable": 503,
    "unauthenticated": 401,
}
"""The protocol's codes, and the HTTP status of each."""


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a request failed.

    Attributes:
        code: one of ``HTTP_STATUS``.
        message: the text.
        details: messages such as google.rpc.ErrorInfo.
        status: the HTTP status, if it is not that of the code.
    """

    code: str
    message: str
    details: tuple[AnyMessage, ...] = ()
    status: int | None = None

    def response(self) -> JSONResponse:
        """The answer to send."""
        body: dict[str, Any] = {"code": self.code, "message": self.message}
        if self.details:
            body["details"] = [_detail(one) for one in self.details]
        return JSONResponse(body, self.status or HTTP_STATUS[self.code], self._headers())

    def _headers(self) -> dict[str, str]:
        headers = {}
        if self.code == "unauthenticated":
            headers["WWW-Authenticate"] = 'Bearer realm="duebus"'
        for detail in self.details:
            info = error_details_pb2.RetryInfo()
            if detail.Unpack(info):
                headers["Retry-After"] = str(max(1, -(-info.retry_delay.ToMicroseconds() // SECOND)))
        return headers


def failure_of(status: Status) -> Failure:
    """A gRPC status in the form of the protocol."""
    code, message, trailing = status
    name = code.name.lower()
    details = status_pb2.Status.FromString(trailing[0][1]).details
    return Failure("canceled" if name == "cancelled" else name, message, tuple(details))


def _detail(detail: AnyMessage) -> dict[str, Any]:
    return {
        "type": detail.TypeName(),
        "value": base64.b64encode(detail.value).decode().rstrip("="),
        "debug": {name: value for name, value in MessageToDict(detail).items() if name != "@type"},
    }
