"""Lease tokens: strings that name a lease and prove that this bus gave it.

A token is an 8-byte keyed BLAKE2b digest (RFC 7693) in hexadecimal, followed by what it vouches for:
``engine/topic/group/fencing token in hexadecimal/event id``. It carries all a replica needs to settle the delivery, so
any replica can. The digest keeps clients from making tokens up; it is no secret from whoever holds the key. It is text
as it is, without base64 around it: tokens are made and read once for each delivery.
"""

from __future__ import annotations

from hashlib import blake2b
from hmac import compare_digest
from typing import TYPE_CHECKING, NamedTuple

from duebus_server.domain.model import EngineName, LeaseRef

if TYPE_CHECKING:
    from collections.abc import Mapping

DIGEST_BYTES = 8
DIGEST_CHARS = 2 * DIGEST_BYTES
MAX_TOKEN_CHARS = 2_048
"""More than the longest topic, group and event id make."""

_ENGINES = {str(name): name for name in EngineName}


class LeaseTarget(NamedTuple):
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
        if len(token) > MAX_TOKEN_CHARS:
            return None
        digest, payload = token[:DIGEST_CHARS], token[DIGEST_CHARS:]
        try:
            engine, topic, group, fence, event_id = payload.split("/", 4)
            name = _ENGINES[engine]
            genuine = compare_digest(digest, _digest(self._keys[name], payload))
        except (ValueError, KeyError, TypeError):  # TypeError: a digest that is not ASCII
            return None
        return LeaseTarget(name, topic, group, LeaseRef(event_id, int(fence, 16))) if genuine else None


class LeaseTokenMinter:
    """Makes the tokens of one group; what they have in common is built once."""

    __slots__ = ("_key", "_prefix")

    def __init__(self, key: bytes, prefix: str) -> None:
        self._key = key
        self._prefix = prefix

    def mint(self, event_id: str, fencing_token: int) -> str:
        """The token of one lease."""
        payload = f"{self._prefix}{fencing_token:x}/{event_id}"
        return _digest(self._key, payload) + payload


def _digest(key: bytes, payload: str) -> str:
    return blake2b(payload.encode(), key=key, digest_size=DIGEST_BYTES).hexdigest()
