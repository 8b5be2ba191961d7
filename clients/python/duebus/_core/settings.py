"""What a client is made with, checked and brought into the form that grpc takes."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import grpc

from duebus._core import fields
from duebus._core.call import Call
from duebus._core.fields import Span
from duebus.errors import InvalidArgument

DEFAULT_TARGET = "127.0.0.1:50051"
DEFAULT_TIMEOUT = 30.0

# A scheme of gRPC's own; `host:` alone is no scheme, since a port follows.
_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*:(//|[^0-9])|ipv[46]:")

ChannelOptions = Iterable[tuple[str, Any]]

_CHANNEL_OPTIONS: dict[str, Any] = {
    "grpc.primary_user_agent": "duebus-python",
    # A connection that died in silence is noticed within 40 s, even while nothing is called. The ping of HTTP/2 has a
    # time limit of its own, by default a minute.
    "grpc.keepalive_time_ms": 30_000,
    "grpc.keepalive_timeout_ms": 10_000,
    "grpc.http2.ping_timeout_ms": 10_000,
    "grpc.keepalive_permit_without_calls": 1,
    "grpc.http2.max_pings_without_data": 0,
    "grpc.max_receive_message_length": 16 * 1024 * 1024,
    # Retries are the client's own: they keep the request_id and know which errors a second try can cure.
    "grpc.enable_retries": 0,
    # A server that comes back is found within a second, gRPC's jitter of 20 % included; the default would wait up to
    # two minutes. What tries again on top of it, such as a worker, adds its own pause.
    "grpc.initial_reconnect_backoff_ms": 100,
    "grpc.max_reconnect_backoff_ms": 800,
}


@dataclass(frozen=True, slots=True)
class Settings:
    """What a client is made with.

    Attributes:
        target: As the caller wrote it.
        targets: The servers in it, each as `host:port` or any other name that gRPC resolves.
        timeout: Seconds that a call may take unless it says otherwise; None: as long as it takes.
        credentials: None: plaintext.
        metadata: Sent with each call.
        options: Of the gRPC channel.
    """

    target: str
    targets: tuple[str, ...]
    timeout: float | None
    credentials: grpc.ChannelCredentials | None
    metadata: tuple[tuple[str, str], ...]
    options: tuple[tuple[str, Any], ...]

    def seconds_for(self, call: Call[Any, Any], timeout: Span | None) -> float | None:
        """How long a call may take; None: as long as it takes."""
        return None if call.waits and timeout is None else self.seconds_or_default(timeout)

    def seconds_or_default(self, timeout: Span | None) -> float | None:
        """What the caller says, or else the client's timeout."""
        return self.timeout if timeout is None else fields.seconds("timeout", timeout)


def _split(target: str) -> tuple[str, ...]:
    """The servers of `host:port,host:port`. A name with a scheme, `ipv4:10.0.0.1:50051,10.0.0.2:50051`, is gRPC's."""
    if "," not in target or _SCHEME.match(target):
        return (target,)
    servers = tuple(each.strip() for each in target.split(","))
    if not all(servers):
        raise InvalidArgument.of_field("target", f"one of the servers in {target!r} is empty")
    return servers


def make_settings(
    target: str,
    timeout: Span | None,
    credentials: grpc.ChannelCredentials | None,
    token: str | None,
    options: ChannelOptions,
) -> Settings:
    """Checks the arguments of a client.

    Raises:
        TypeError: an argument has the wrong type.
        InvalidArgument: `timeout` is not positive, or one of several servers is empty.
    """
    return Settings(
        target=fields.text("target", target),
        targets=_split(target),
        timeout=None if timeout is None else fields.seconds("timeout", timeout),
        credentials=credentials,
        metadata=() if token is None else (("authorization", f"Bearer {fields.text('token', token)}"),),
        options=tuple((_CHANNEL_OPTIONS | dict(options)).items()),
    )
