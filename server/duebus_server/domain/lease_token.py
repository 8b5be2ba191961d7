"""Lease tokens: strings that name a lease and prove that this bus gave it.

A token is the base64url of an 8-byte keyed BLAKE2b digest (RFC 7693) followed by
``engine/topic/group/fencing token in hexadecimal/event id``. It carries all a replica needs to settle the delivery, so
any replica can. The digest keeps clients from making tokens up; it is no secret from whoever holds the key.
"""

from __future__ import annotations

import binascii
from base64 import urlsafe_b64decode, urlsafe_b64encode
from dataclasses import dataclass
from hashlib import blake2b
from hmac import compare_digest
from typing import TYPE_CHECKING

from duebus_server.domain.model import EngineName, LeaseRef

if TYPE_CHECKING:
    from collections.abc import Mapping

DIGEST_BYTES = 8
MAX_TOKEN_CHARS = 2_048
"""More than the longest topic, group and event id make."""


@dataclass(frozen=True, slots=True)
class LeaseTarget:
    """What a token names: one lease of one group's event, on one engine."""

    engine: EngineName
    topic: str
    group: str
    lease: LeaseRef


class LeaseTokens:
    """Makes and reads the lease tokens of one bus.

    Args:
        keys: the secret of each engine; a token of an engine without a key here is not of this bus.
    """

    def __init__(self, keys: Mapping[EngineName, bytes]) -> None:
        self._keys = keys

    def minter(self, engine: EngineName, topic: str, group: str) -> LeaseTokenMinter:
        """Makes the tokens of one group."""
        return LeaseTokenMinter(self._keys[engine], f"{engine}/{topic}/{group}/")

    def read(self, token: str) -> LeaseTarget | None:
        """What the token names, or None when it is not one of this bus."""
        try:
            raw = urlsafe_b64decode(token) if len(token) <= MAX_TOKEN_CHARS else b""
            if urlsafe_b64encode(raw).decode() != token:  # decoding passes over characters and bits without a meaning
                return None
            digest, payload = raw[:DIGEST_BYTES], raw[DIGEST_BYTES:]
            engine, topic, group, fence, event_id = payload.decode().split("/", 4)
            key = self._keys[EngineName(engine)]
        except (binascii.Error, ValueError, KeyError):
            return None
        if not compare_digest(digest, _digest(key, payload)):
            return None
        return LeaseTarget(EngineName(engine), topic, group, LeaseRef(event_id, int(fence, 16)))


class LeaseTokenMinter:
    """Makes the tokens of one group; what they have in common is built once."""

    __slots__ = ("_key", "_prefix")

    def __init__(self, key: bytes, prefix: str) -> None:
        self._key = key
        self._prefix = prefix

    def mint(self, event_id: str, fencing_token: int) -> str:
        """The token of one lease."""
        payload = f"{self._prefix}{fencing_token:x}/{event_id}".encode()
        return urlsafe_b64encode(_digest(self._key, payload) + payload).decode()


def _digest(key: bytes, payload: bytes) -> bytes:
    return blake2b(payload, key=key, digest_size=DIGEST_BYTES).digest()
