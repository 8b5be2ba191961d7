"""Bearer tokens in the metadata of calls."""

from duebus._core import fields
from duebus.errors import InvalidArgument, Unauthenticated, Unavailable

__all__ = ["Metadata", "fixed", "no_token", "provided"]

Metadata = tuple[tuple[str, str], ...]


def fixed(token: str) -> Metadata:
    """The metadata of a token that stays the same. White space around it is left out.

    Raises:
        TypeError: it is not a str.
        InvalidArgument: it can't be sent.
    """
    stripped = fields.text("token", token).strip()
    if not stripped:
        raise InvalidArgument.of_field("token", "is empty")
    if not _can_be_sent(stripped):
        raise InvalidArgument.of_field("token", "is not printable ASCII")
    return _authorization(stripped)


def provided(token: object) -> Metadata:
    """The metadata of a token that a provider has returned, perhaps from a file that is being written.

    Raises:
        Unavailable: there is none.
        Unauthenticated: it can't be sent.
    """
    if not isinstance(token, str):
        raise no_token(f"it is {type(token).__name__}")
    stripped = token.strip()
    if not stripped:
        raise no_token("it is empty")
    if not _can_be_sent(stripped):
        raise Unauthenticated("the token is not printable ASCII")
    return _authorization(stripped)


def no_token(reason: object) -> Unavailable:
    """The error of a call for which there is no token now."""
    return Unavailable(f"no token: {reason}")


def _can_be_sent(token: str) -> bool:
    return token.isascii() and token.isprintable()


def _authorization(token: str) -> Metadata:
    return (("authorization", f"Bearer {token}"),)
