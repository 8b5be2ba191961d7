"""Where Redis is: one server, behind sentinels, or a cluster."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, unquote, urlsplit

from redis.asyncio import Redis, RedisCluster, Sentinel
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

if TYPE_CHECKING:
    from collections.abc import Mapping

CONNECT_TIMEOUT_S = 2.0
ANSWER_TIMEOUT_S = 5.0
"""A call fails fast when Redis is away; longer than any script takes."""

MAX_CONNECTIONS = 64

LISTENER_PING_S = 5
"""How soon a listener finds that its connection is dead, in seconds."""

_SENTINEL, _CLUSTER = "redis+sentinel", "redis+cluster"
_SCHEMES = ("redis", "rediss", "unix", _SENTINEL, _CLUSTER)


class RedisUrlError(ValueError):
    """The URL names no Redis. Its text says what is wrong with it, without the credentials."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """Who we are to Redis; None where the URL says."""

    username: str | None = None
    password: str | None = None

    def options(self) -> dict[str, str]:
        """As the client takes them."""
        return {name: value for name in ("username", "password") if (value := getattr(self, name)) is not None}


class Connection:
    """The clients of one Redis.

    Args:
        url: ``redis://``, ``rediss://`` (TLS: ``?ssl_ca_certs=FILE&ssl_certfile=FILE&ssl_keyfile=FILE``), ``unix://``,
            ``redis+sentinel://HOST:PORT,HOST:PORT/SERVICE``, ``redis+cluster://HOST:PORT``.
        credentials: instead of those in the URL.

    Raises:
        RedisUrlError: the URL is none of these.
    """

    def __init__(self, url: str, credentials: Credentials | None = None) -> None:
        parts = urlsplit(url)
        if parts.scheme not in _SCHEMES:
            raise RedisUrlError(f"scheme {parts.scheme!r} is none of {', '.join(_SCHEMES)}")
        self._url = url
        self._options: dict[str, Any] = {
            "socket_connect_timeout": CONNECT_TIMEOUT_S,
            "socket_timeout": ANSWER_TIMEOUT_S,
            # Whether a script whose answer was lost may run again is for the engine to say.
            "retry": Retry(NoBackoff(), 0),
            "health_check_interval": LISTENER_PING_S,
            **(credentials or Credentials()).options(),
        }
        try:
            self.redis: Any = self._open(parts.scheme)
        except ValueError as error:
            raise RedisUrlError(str(error)) from None

    def _open(self, scheme: str) -> Redis | RedisCluster:
        if scheme == _CLUSTER:
            return RedisCluster.from_url(self._url.replace(_CLUSTER, "redis", 1), **self._options)
        if scheme == _SENTINEL:
            return self._behind_sentinels()
        return Redis.from_url(self._url, max_connections=MAX_CONNECTIONS, **self._options)

    def _behind_sentinels(self) -> Redis:
        parts = urlsplit(self._url)
        userinfo, _, hosts = parts.netloc.rpartition("@")
        service, _, database = parts.path.strip("/").partition("/")
        if not hosts or not service:
            raise RedisUrlError("sentinels are named as redis+sentinel://HOST:PORT,HOST:PORT/SERVICE[/DB]")
        options = {**_userinfo(userinfo), **self._options, **dict(parse_qsl(parts.query)), "db": int(database or 0)}
        sentinels = [_host_and_port(host) for host in hosts.split(",")]
        timeouts = {"socket_connect_timeout": CONNECT_TIMEOUT_S, "socket_timeout": ANSWER_TIMEOUT_S}
        sentinel: Any = Sentinel(sentinels, sentinel_kwargs=timeouts)  # type: ignore[no-untyped-call]
        client: Redis = sentinel.master_for(service, **options)
        return client

    @property
    def is_cluster(self) -> bool:
        """Whether keys are spread over nodes, so that one command can't touch all of them."""
        return isinstance(self.redis, RedisCluster)

    def listener(self) -> Redis:
        """A client for Pub/Sub: any node of a cluster hears what is published on the others."""
        if self.is_cluster:
            node = self.redis.get_default_node()
            return Redis(host=node.host, port=int(node.port), **self._options)
        client: Redis = self._open(urlsplit(self._url).scheme)  # type: ignore[assignment]  # no cluster
        return client

    async def close(self) -> None:
        """Close all connections."""
        await self.redis.aclose()


async def server_facts(redis: Any) -> tuple[tuple[int, ...], str]:
    """The version, and the maxmemory policy where Redis tells it.

    Raises:
        RedisError: as the client does.
    """
    info = await redis.info()
    facts = info if "redis_version" in info else next(iter(info.values()))  # a cluster answers for each node
    version = tuple(int(part) for part in str(facts["redis_version"]).split(".")[:2])
    return version, str(facts.get("maxmemory_policy", ""))


def _host_and_port(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    if not host or not port.isdigit():
        raise RedisUrlError(f"{text!r} is not HOST:PORT")
    return host, int(port)


def _userinfo(text: str) -> Mapping[str, str]:
    if not text:
        return {}
    username, _, password = text.partition(":")
    return {name: unquote(value) for name, value in (("username", username), ("password", password)) if value}
