"""The tokens file: who may connect with a bearer token. It holds only digests.

One line a token: ``IDENTITY sha256:HEX``. Empty lines and lines that begin with ``#`` are ignored. An identity may have
several tokens, so that a new one can be issued before the old one is removed.
"""

from __future__ import annotations

import re
import secrets
import stat
from hashlib import sha256
from typing import TYPE_CHECKING

from duebus_server.security.errors import BadFileError, unreadable

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

PREFIX = "duebus_"
"""The prefix of every token, so that a leaked one can be found."""

SECRET_BYTES = 32

IDENTITY = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@/:+-]{0,254}")
IDENTITY_RULE = "must match [A-Za-z0-9][A-Za-z0-9._@/:+-]{0,254}"

_DIGEST = re.compile(r"sha256:([0-9a-f]{64})")
_TOO_OPEN = stat.S_IWGRP | stat.S_IROTH | stat.S_IWOTH
_LINE_PARTS = 2

Tokens = dict[str, str]
"""Identities by the digests of their tokens, in hexadecimal."""


def new_token() -> str:
    """Make a token that nobody can guess."""
    return PREFIX + secrets.token_urlsafe(SECRET_BYTES)


def digest(token: str) -> str:
    """The digest of a token, in hexadecimal.

    A plain digest is enough: a token has 256 random bits, too many to guess.
    """
    return sha256(token.encode()).hexdigest()


def file_line(identity: str, token: str) -> str:
    """The line for a token."""
    return f"{identity} sha256:{digest(token)}"


def identity_of(tokens: Mapping[str, str], token: str) -> str | None:
    """The identity of a token; None if it is unknown."""
    return tokens.get(digest(token))


def read_tokens(path: Path) -> Tokens:
    """Read the tokens of a file.

    Raises:
        BadFileError: it can't be read, others may read or change it, or a line is malformed.
    """
    try:
        mode = path.stat().st_mode
        lines = path.read_text().splitlines()
    except OSError as error:
        raise unreadable(path, error) from error
    except UnicodeDecodeError:
        raise BadFileError(path, "is not UTF-8 text") from None
    if mode & _TOO_OPEN:
        problem = f"has mode {stat.S_IMODE(mode):04o}: others could read or change it; try chmod 600"
        raise BadFileError(path, problem)
    tokens: Tokens = {}
    for number, line in enumerate(lines, start=1):
        if line.strip() and not line.lstrip().startswith("#"):
            _add(tokens, line.split(), path, number)
    return tokens


def _add(tokens: Tokens, parts: list[str], path: Path, number: int) -> None:
    """Read one line. Errors never quote it, since it may be a token."""
    if len(parts) != _LINE_PARTS:
        raise BadFileError(path, "is not of the form IDENTITY sha256:HEX", number)
    identity, written = parts
    match = _DIGEST.fullmatch(written)
    if not IDENTITY.fullmatch(identity):
        raise BadFileError(path, f"the identity {IDENTITY_RULE}", number)
    if match is None:
        raise BadFileError(path, "the digest is not sha256: and 64 hexadecimal digits", number)
    if tokens.setdefault(match[1], identity) != identity:
        raise BadFileError(path, "the token already belongs to another identity", number)
