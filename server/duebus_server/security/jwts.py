"""JSON Web Tokens (RFC 7519), checked by PyJWT against a set of public keys (RFC 7517) in a file or at a URL."""

from __future__ import annotations

import asyncio
import json
import time
from hashlib import sha256
from http.client import HTTPException
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jwt
import structlog
from jwt import PyJWK, PyJWKClient, PyJWKSet

from duebus_server.security.errors import BadFileError, unreadable
from duebus_server.security.reloading import Reloading

if TYPE_CHECKING:
    from collections.abc import Callable

ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")
"""Algorithms with public keys. One with a shared secret, or none at all, is never accepted."""

LEEWAY_S = 30
"""How much the clocks of issuer and server may differ."""

REFRESH_S = 300.0
"""How often keys at a URL are fetched again..."""
COOLDOWN_S = 10.0
"""...and at most this often when a token names an unknown key."""
FETCH_TIMEOUT_S = 5.0
MAX_WAITING = 100
"""How many calls may wait for keys at once, because anyone can make up tokens. More use the keys already fetched."""

CACHED_TOKENS = 10_000
"""How many tokens whose signature was checked are remembered."""

MAX_SUBJECT = 255
"""In characters, since identities are written to logs."""

Keys = dict[str | None, PyJWK]
"""By key id; a set of one key without an id has it under None."""

log = structlog.get_logger()


class JwtRefusedError(Exception):
    """A token isn't accepted. The message says why without quoting the token."""


class FileKeys:
    """Keys in a file, reread when it changes."""

    def __init__(self, path: Path) -> None:
        self._file = Reloading([path], lambda: _read_keys(path))

    async def find(self, _key_id: str | None) -> Keys:
        """The keys in force."""
        return self._file.current()


class UrlKeys:
    """Keys at a URL, fetched again when they are old or a token names an unknown one.

    Args:
        url: https, or http for tests.
        now_s: seconds that never jump.
    """

    def __init__(self, url: str, now_s: Callable[[], float] = time.monotonic) -> None:
        self._client = PyJWKClient(url, cache_jwk_set=False, timeout=FETCH_TIMEOUT_S)
        self._now_s = now_s
        self._keys: Keys = {}
        self._fetched_s = float("-inf")
        self._fetching = asyncio.Lock()
        self._waiting = 0

    async def find(self, key_id: str | None) -> Keys:
        """The current keys: the last ones fetched if the URL doesn't answer or too many calls wait for it."""
        if self._is_time(key_id) and self._waiting < MAX_WAITING:
            self._waiting += 1
            try:
                async with self._fetching:
                    if self._is_time(key_id):
                        await self._fetch()
            finally:
                self._waiting -= 1
        return self._keys

    def _is_time(self, key_id: str | None) -> bool:
        age_s = self._now_s() - self._fetched_s
        return age_s > REFRESH_S or (key_id not in self._keys and age_s > COOLDOWN_S)

    async def _fetch(self) -> None:
        self._fetched_s = self._now_s()
        try:
            self._keys = _keys(await asyncio.to_thread(self._client.fetch_data))
        except (jwt.PyJWTError, OSError, HTTPException, ValueError, RecursionError) as error:  # any answer
            log.warning("token keys could not be fetched", error=str(error))


class Jwts:
    """Identifies the owner of a token.

    Args:
        keys: where the keys are.
        audience: the token must be meant for it.
        issuer: the token must come from it; None accepts any issuer with a key in the set.
    """

    def __init__(self, keys: FileKeys | UrlKeys, audience: str, issuer: str | None) -> None:
        self._keys = keys
        self._audience = audience
        self._issuer = issuer
        self._checked: dict[bytes, tuple[PyJWK, dict[str, Any]]] = {}

    async def identity_of(self, token: str) -> str:
        """The subject of a token.

        Raises:
            JwtRefusedError: it is malformed, not signed by a key of the set, expired, or for another audience.
        """
        try:
            key_id = jwt.get_unverified_header(token).get("kid")
            keys = await self._keys.find(key_id)
            key = keys.get(key_id) or keys.get(None)
            if key is None:
                raise JwtRefusedError("the key that signed the token is not in the set")
            subject = self._claims(token, key)["sub"]
        except jwt.ExpiredSignatureError:
            raise JwtRefusedError("the token has expired") from None
        except jwt.PyJWTError as error:
            raise JwtRefusedError(f"the token is not accepted: {type(error).__name__}") from None
        if not subject:
            raise JwtRefusedError("the token has no subject")
        if not subject.isprintable() or len(subject) > MAX_SUBJECT:
            raise JwtRefusedError("the token's subject is not printable, or too long")
        return str(subject)

    def _claims(self, token: str, key: PyJWK) -> dict[str, Any]:
        """The claims of a token that is valid now. Its signature is checked once per key."""
        name = sha256(token.encode()).digest()
        known = self._checked.get(name)
        if known is not None and known[0] is key and time.time() < int(known[1]["exp"]) + LEEWAY_S:
            return known[1]
        claims: dict[str, Any] = jwt.decode(
            token,
            key,
            algorithms=list(ALGORITHMS),
            audience=self._audience,
            issuer=self._issuer,
            leeway=LEEWAY_S,
            options={"require": ["exp", "sub", "aud"]},
        )
        if len(self._checked) >= CACHED_TOKENS:
            self._checked.clear()
        self._checked[name] = (key, claims)
        return claims


def make_jwts(source: str, audience: str, issuer: str | None) -> Jwts:
    """Make a checker with the keys at ``source``, a URL or a file.

    Raises:
        BadFileError: the file can't be used.
    """
    keys = UrlKeys(source) if source.startswith(("https://", "http://")) else FileKeys(Path(source))
    return Jwts(keys, audience, issuer)


def _read_keys(path: Path) -> Keys:
    try:
        return _keys(json.loads(path.read_text()))
    except OSError as error:
        raise unreadable(path, error) from error
    except (ValueError, jwt.PyJWTError) as error:
        raise BadFileError(path, f"is not a set of public keys: {error}") from error


def _keys(found: Any) -> Keys:
    """Parse a set of keys.

    Raises:
        PyJWTError: it isn't one.
    """
    if not isinstance(found, dict):
        raise jwt.PyJWKSetError("not a JSON object")
    return {key.key_id: key for key in PyJWKSet.from_dict(found).keys}
