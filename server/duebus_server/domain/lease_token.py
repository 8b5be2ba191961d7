"""Lease tokens: strings that name a lease and prove that this bus made them.

A token is a keyed BLAKE2b digest (RFC 7693) of 8 bytes in hexadecimal, followed by what it signs:
``engine/topic/group/fencing token in hexadecimal/event id``. It holds all that a replica needs to settle the delivery,
so any replica can. The digest keeps clients from forging tokens. A token is plain text and not base64, because one is
made and read for each delivery.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from hashlib import blake2b
from hmac import compare_digest
from itertools import repeat
from typing import TYPE_CHECKING, NamedTuple

from duebus_server.domain.model import EngineName, LeaseRef

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

DIGEST_BYTES = 8
DIGEST_CHARS = 2 * DIGEST_BYTES
MAX_TOKEN_CHARS = 2_048
"""More than a token of the longest topic, group and event id needs."""

MAX_MADE = 10_000
"""How many tokens are remembered that were made and not read yet, at about 400 bytes each. One more, and all of them
are forgotten: their digests are checked when they come back.
"""

_Read = tuple["GroupTokens", LeaseRef]
"""The group and the lease that a token names."""

_ENGINES = {str(name): name for name in EngineName}

_new_lease = partial(tuple.__new__, LeaseRef)
"""``LeaseRef(*fields)``, in half of the time."""


class LeaseTarget(NamedTuple):
    """What a token names: one lease of one group's event, on one engine."""

    engine: EngineName
    topic: str
    group: str
    lease: LeaseRef


@dataclass(slots=True)
class GroupLeases:
    """The leases of one group that tokens name.

    Attributes:
        indexes: of the tokens among those that were read.
        leases: the leases that they name, in the same order.
    """

    engine: EngineName
    topic: str
    group: str
    indexes: list[int] = field(default_factory=list)
    leases: list[LeaseRef] = field(default_factory=list)


class LeaseTokens:
    """Makes and reads the lease tokens of one bus.

    Args:
        keys: the secret of each engine. A token of an engine without a key is not one of this bus.
    """

    def __init__(self, keys: Mapping[EngineName, bytes]) -> None:
        self._keys = keys
        # What the tokens name that were made here and not read yet. Most come back to the replica that made them, which
        # need not compute their digest again: that would take half of the time to settle an event on `local`.
        self._made: dict[str, _Read] = {}

    def of_group(self, engine: EngineName, topic: str, group: str) -> GroupTokens:
        """Makes and reads the tokens of one group."""
        return GroupTokens(self._keys[engine], engine, topic, group, self._made)

    def read(self, token: str) -> LeaseTarget | None:
        """What the token names; None if it is not a token of this bus."""
        group = self._group_of(token)
        lease = group.read(token) if group else None
        return LeaseTarget(group.engine, group.topic, group.group, lease) if group and lease else None

    def read_all(self, tokens: Sequence[str]) -> tuple[list[GroupLeases], list[int]]:
        """What the tokens name, sorted by group, and the positions of those that are not tokens of this bus."""
        found: dict[tuple[EngineName, str, str], GroupLeases] = {}
        malformed: list[int] = []
        group, indexes, leases = None, malformed, list[LeaseRef]()
        take_made = self._made.pop
        for index, token in enumerate(tokens):
            read = take_made(token, None) or self._verified(token, group)
            if read is None:
                malformed.append(index)
                continue
            its_group, lease = read
            if its_group is not group:  # usually it is that of the one before
                group = its_group
                name = (group.engine, group.topic, group.group)
                of_group = found.setdefault(name, GroupLeases(*name))
                indexes, leases = of_group.indexes, of_group.leases
            indexes.append(index)
            leases.append(lease)
        return list(found.values()), malformed

    def _verified(self, token: str, likely: GroupTokens | None) -> _Read | None:
        """The group and the lease that the token names, from its text. ``likely`` is the group to try first."""
        group = likely
        lease = group.read(token) if group else None
        if lease is None:
            group = self._group_of(token)
            lease = group.read(token) if group else None
        return (group, lease) if group and lease else None

    def _group_of(self, token: str) -> GroupTokens | None:
        """The group that a token names, if its engine is one of this bus."""
        engine, _, rest = token[DIGEST_CHARS:MAX_TOKEN_CHARS].partition("/")
        topic, _, rest = rest.partition("/")
        group, _, _ = rest.partition("/")
        name = _ENGINES.get(engine)
        return None if name is None or name not in self._keys else self.of_group(name, topic, group)


class GroupTokens:
    """The tokens of one group. What they have in common is computed once."""

    __slots__ = ("_begun", "_made", "_prefix", "engine", "group", "topic")

    def __init__(self, key: bytes, engine: EngineName, topic: str, group: str, made: dict[str, _Read]) -> None:
        self.engine = engine
        self.topic = topic
        self.group = group
        self._made = made
        self._prefix = f"{engine}/{topic}/{group}/"
        # The digest of the key and the prefix. Each token's digest is continued from a copy of it.
        prefix = self._prefix.encode(errors="surrogatepass")  # surrogates come from a forged token
        self._begun = blake2b(prefix, key=key, digest_size=DIGEST_BYTES)

    def mint(self, event_ids: Sequence[str], fencing_tokens: Sequence[int]) -> list[str]:
        """The tokens of these leases, of which there is one for each delivery."""
        begun, prefix = self._begun.copy, self._prefix
        tokens: list[str] = []
        for event_id, fencing_token in zip(event_ids, fencing_tokens, strict=True):
            own = f"{fencing_token:x}/{event_id}"
            digest = begun()  # as ``_digest``, without the time of a call
            digest.update(own.encode())
            tokens.append(f"{digest.hexdigest()}{prefix}{own}")
        if len(self._made) + len(tokens) > MAX_MADE:
            self._made.clear()
        leases = map(_new_lease, zip(event_ids, fencing_tokens, strict=True))
        self._made.update(zip(tokens[:MAX_MADE], zip(repeat(self), leases, strict=False), strict=False))
        return tokens

    def read(self, token: str) -> LeaseRef | None:
        """The lease that the token names; None if it is not a token of this group."""
        if not token.startswith(self._prefix, DIGEST_CHARS) or len(token) > MAX_TOKEN_CHARS:
            return None
        own = token[DIGEST_CHARS + len(self._prefix) :]
        try:
            if not compare_digest(token[:DIGEST_CHARS], self._digest(own)):
                return None
        except (TypeError, UnicodeEncodeError):  # TypeError: a digest that is not ASCII
            return None
        fence, _, event_id = own.partition("/")
        return LeaseRef(event_id, int(fence, 16))

    def _digest(self, own: str) -> str:
        """The digest of the prefix and the token's own part."""
        digest = self._begun.copy()
        digest.update(own.encode())
        return digest.hexdigest()
