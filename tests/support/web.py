"""The bus over HTTP, as any HTTP client sees it."""

from __future__ import annotations

import http.client
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from duebus import Client

from support.wire import SIGNAL_TIMEOUT_S

if TYPE_CHECKING:
    import ssl
    from collections.abc import Iterator
    from email.message import Message

    from support.secured import Secured
    from support.server_process import ServerProcess

WEB = ("--web-listen", "127.0.0.1:0")
"""The flags of a server with an HTTP port."""

JSON = {"Content-Type": "application/json"}


@dataclass(frozen=True)
class Answer:
    """A response."""

    status: int
    headers: Message
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def failure(self) -> tuple[int, str, str, str]:
        """The status, the code, the reason, and the wrong field, empty if no field is wrong."""
        debugs = {detail["type"]: detail["debug"] for detail in self.json.get("details", [])}
        [violation] = debugs.get("google.rpc.BadRequest", {}).get("fieldViolations", [{"field": ""}])
        reason = debugs.get("google.rpc.ErrorInfo", {}).get("reason", "")
        return self.status, self.json["code"], reason, violation["field"]


class Web:
    """A connection that is kept open.

    Args:
        url: of the server.
        tls: for https.
        headers: sent with every request.
    """

    def __init__(self, url: str, tls: ssl.SSLContext | None = None, headers: dict[str, str] | None = None) -> None:
        address = urlsplit(url)
        if tls is None:
            self.connection = http.client.HTTPConnection(address.netloc, timeout=SIGNAL_TIMEOUT_S)
        else:
            self.connection = http.client.HTTPSConnection(address.netloc, timeout=SIGNAL_TIMEOUT_S, context=tls)
        self._headers = headers or {}

    def post(
        self,
        path: str,
        body: bytes | str | dict[str, Any] | Iterator[bytes] = b"",
        headers: dict[str, Any] | None = None,
    ) -> Answer:
        """POST; a dict is sent as JSON."""
        return self.ask("POST", path, body, headers)

    def ask(self, method: str, path: str, body: Any = b"", headers: dict[str, Any] | None = None) -> Answer:
        sent = {**self._headers, **(headers or {})}
        if isinstance(body, dict):
            body, sent = json.dumps(body), {**JSON, **sent}
        self.connection.request(method, path, body, sent)
        response = self.connection.getresponse()
        return Answer(response.status, response.headers, response.read())

    def call(self, rpc: str, **fields: Any) -> Answer:
        """A call of an RPC, such as ``EventBus/Dispatch``."""
        return self.post(f"/duebus.v1.{rpc}", fields)


def bearer(token: str) -> dict[str, str]:
    """The header with a token."""
    return {"Authorization": f"Bearer {token}"}


@dataclass(frozen=True)
class Guarded:
    """A server that takes calls with tokens only, and those who have one."""

    server: ServerProcess
    secured: Secured

    def token(self, identity: str) -> str:
        return self.secured.tokens[identity]

    def web(self, identity: str) -> Web:
        """The server as this caller sees it."""
        return Web(self.server.web, headers=bearer(self.token(identity)))

    def client(self, identity: str) -> Client:
        return Client(self.server.address, token=self.token(identity))
