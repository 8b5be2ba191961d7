"""A client's settings, checked and converted for grpc."""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import grpc

from duebus._core import fields, tokens
from duebus._core.call import Call
from duebus._core.fields import Span
from duebus.errors import InvalidArgument

DEFAULT_TARGET = "127.0.0.1:50051"
DEFAULT_TIMEOUT = 30.0

# A gRPC scheme. `host:` is not one, because a port follows.
_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*:(//|[^0-9])|ipv[46]:")

ChannelOptions = Iterable[tuple[str, Any]]

_CHANNEL_OPTIONS: dict[str, Any] = {
    "grpc.primary_user_agent": "duebus-python",
    # A connection that dies silently is noticed within 40 s, even without calls. HTTP/2 pings have their own timeout,
    # by default a minute.
    "grpc.keepalive_time_ms": 30_000,
    "grpc.keepalive_timeout_ms": 10_000,
    "grpc.http2.ping_timeout_ms": 10_000,
    "grpc.keepalive_permit_without_calls": 1,
    "grpc.http2.max_pings_without_data": 0,
    "grpc.max_receive_message_length": 16 * 1024 * 1024,
    # The client retries itself: it keeps the request_id and knows which errors a retry can cure.
    "grpc.enable_retries": 0,
    # A name with several addresses is several servers, used in turn. When one goes, the name is resolved again, at most
    # every five seconds.
    "grpc.lb_policy_name": "round_robin",
    "grpc.dns_min_time_between_resolutions_ms": 5_000,
    # A server that comes back is found within a second, including gRPC's 20 % jitter; the default would take up to two
    # minutes. Retries on top of this, such as a worker's, add their own backoff.
    "grpc.initial_reconnect_backoff_ms": 100,
    "grpc.max_reconnect_backoff_ms": 800,
}


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings of a client.

    Attributes:
        target: The caller's text.
        targets: Its servers, each as `host:port` or any other name that gRPC resolves.
        timeout: How many seconds a call may take unless it sets its own timeout; None: no limit.
        credentials: None: plaintext.
        metadata: Sent with each call.
        token_provider: Asked before each call and each stream for a token, which is sent with it too.
        options: Options for the gRPC channel.
    """

    target: str
    targets: tuple[str, ...]
    timeout: float | None
    credentials: grpc.ChannelCredentials | None
    metadata: tokens.Metadata
    token_provider: Callable[[], Any] | None
    options: tuple[tuple[str, Any], ...]

    def seconds_for(self, call: Call[Any, Any], timeout: Span | None) -> float | None:
        """How long a call may take, in seconds; None: no limit."""
        return None if call.waits and timeout is None else self.seconds_or_default(timeout)

    def seconds_or_default(self, timeout: Span | None) -> float | None:
        """The caller's timeout, or else the client's."""
        return self.timeout if timeout is None else fields.seconds("timeout", timeout)


def _split(target: str) -> tuple[str, ...]:
    """The servers of `host:port,host:port`. gRPC splits a name with a scheme: `ipv4:10.0.0.1:50051,10.0.0.2:50051`."""
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
    token: str | Callable[[], Any] | None,
    options: ChannelOptions,
) -> Settings:
    """Checks the arguments of a client.

    Raises:
        TypeError: an argument has the wrong type.
        InvalidArgument: `timeout` is not positive, `token` can't be sent, or one of several servers is empty.
    """
    return Settings(
        target=fields.text("target", target),
        targets=_split(target),
        timeout=None if timeout is None else fields.seconds("timeout", timeout),
        credentials=credentials,
        metadata=() if token is None or token == "" or callable(token) else tokens.fixed(token),
        token_provider=token if callable(token) else None,
        options=tuple((_CHANNEL_OPTIONS | dict(options)).items()),
    )
