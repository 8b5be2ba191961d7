"""Parses the URL of Redis."""

from __future__ import annotations

import re
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

if TYPE_CHECKING:
    from collections.abc import Mapping

SENTINEL, CLUSTER = "redis+sentinel", "redis+cluster"
SCHEMES = ("redis", "rediss", "unix", SENTINEL, CLUSTER)
DEFAULT_PORT = 6379

_NUMBER = re.compile(r"\d{1,9}", re.ASCII)

_FILES = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile")
_SENTINEL_CREDENTIALS = {"sentinel_username": "username", "sentinel_password": "password"}
_SENTINEL_FORM = "the URL of sentinels is redis+sentinel://HOST:PORT,HOST:PORT/SERVICE[/DB]"


class RedisUrlError(ValueError):
    """The URL does not name a Redis. The text says what is wrong with it, without the credentials."""


@dataclass(frozen=True, slots=True)
class Target:
    """Where Redis is.

    Attributes:
        scheme: one of SCHEMES.
        addresses: hosts and ports; none for a socket.
        path: the path of a socket.
        service: the sentinels' name for the primary.
        options: database, credentials and TLS, as the client takes them.
        sentinel_options: the credentials that the sentinels themselves want, as the client takes them.
        tls: whether connections are encrypted.
    """

    scheme: str
    addresses: list[tuple[str, int]]
    path: str
    service: str
    options: Mapping[str, Any]
    sentinel_options: Mapping[str, str]
    tls: bool


def parse(url: str) -> Target:
    """Parse a URL.

    Raises:
        RedisUrlError: it is not a URL of Redis.
    """
    try:
        parts = urlsplit(url)
    except ValueError:
        raise RedisUrlError("not a URL") from None
    if parts.scheme not in SCHEMES:
        raise RedisUrlError(f"scheme {parts.scheme!r} is not one of {', '.join(SCHEMES)}")
    userinfo, _, hosts = parts.netloc.rpartition("@")
    service, database = _path(parts)
    query = _query(parts.query)
    files = {name: _file(name, query[name]) for name in _FILES if name in query}
    tls = parts.scheme == "rediss" or (parts.scheme in (SENTINEL, CLUSTER) and bool(files))
    if files and not tls:
        raise RedisUrlError(f"{next(iter(files))} is only for rediss://, sentinels and clusters")
    _check_tls(files)
    own = {ours: query[name] for name, ours in _SENTINEL_CREDENTIALS.items() if query.get(name)}
    if own and parts.scheme != SENTINEL:
        raise RedisUrlError(f"sentinel credentials are only for {SENTINEL}://")
    number = query.get("db", database)
    if not _NUMBER.fullmatch(number):
        raise RedisUrlError("the database is not a number")
    options = {**_userinfo(userinfo), **files, **({"db": int(number)} if parts.scheme != CLUSTER else {})}
    addresses = [] if parts.scheme == "unix" else [_address(parts.scheme, host) for host in hosts.split(",")]
    return Target(parts.scheme, addresses, unquote(parts.path), service, options, own, tls)


def _path(parts: SplitResult) -> tuple[str, str]:
    """The service and the database that the path names."""
    if parts.scheme == "unix":
        return "", "0"
    first, _, rest = parts.path.strip("/").partition("/")
    if parts.scheme != SENTINEL:
        return "", parts.path.strip("/") or "0"
    if not first or not parts.netloc:
        raise RedisUrlError(_SENTINEL_FORM)
    return unquote(first), rest or "0"


def _query(text: str) -> dict[str, str]:
    query = dict(parse_qsl(text, keep_blank_values=True))
    for name in query:
        if name not in ("db", *_FILES, *_SENTINEL_CREDENTIALS):
            raise RedisUrlError(f"no such option: {name}")
    return query


def _file(name: str, path: str) -> str:
    if not Path(path).is_file():
        raise RedisUrlError(f"{name}: no such file: {path}")
    return path


def _check_tls(files: Mapping[str, str]) -> None:
    """Read the files for TLS as the client will."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    authorities, certificate, key = (files.get(name) for name in _FILES)
    if authorities is not None:
        try:
            context.load_verify_locations(cafile=authorities)
        except (OSError, ValueError):
            raise RedisUrlError(f"ssl_ca_certs: holds no certificate: {authorities}") from None
    if certificate is None and key is not None:
        raise RedisUrlError("ssl_keyfile: needs ssl_certfile")
    if certificate is not None:
        try:
            context.load_cert_chain(certificate, key, password="")  # without one, it would ask on the terminal
        except (OSError, ValueError):
            held = f"{certificate} and {key}" if key else f"{certificate} alone"
            raise RedisUrlError(f"ssl_certfile, ssl_keyfile: not a certificate and its key: {held}") from None


def _address(scheme: str, text: str) -> tuple[str, int]:
    host, colon, port = text.rpartition(":") if not text.endswith("]") else (text, "", "")
    if scheme == SENTINEL and not (host and port):
        raise RedisUrlError(f"{text!r} is not HOST:PORT")
    if not colon:
        host, port = text, str(DEFAULT_PORT)
    if not _NUMBER.fullmatch(port) or not 0 < int(port) < 1 << 16:
        raise RedisUrlError("the port is not a number from 1 to 65535")
    return host.strip("[]") or "localhost", int(port)


def _userinfo(text: str) -> Mapping[str, str]:
    username, _, password = text.partition(":")
    return {name: unquote(value) for name, value in (("username", username), ("password", password)) if value}
