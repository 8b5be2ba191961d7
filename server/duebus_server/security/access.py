"""Who a call comes from, and what it may do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from duebus_server.domain.errors import PermissionDenied, Unauthenticated
from duebus_server.security.acl import ALL_TOPICS, Acl, Verb
from duebus_server.security.jwts import JwtRefusedError, Jwts
from duebus_server.security.token_file import Tokens, identity_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from duebus_server.security.reloading import Reloading

ANONYMOUS = ""


@dataclass(frozen=True, slots=True)
class Caller:
    """Who a call comes from.

    Attributes:
        names: the identity first. A certificate has several names, and rules may use any of them. Empty if anonymous.
    """

    names: tuple[str, ...]
    _acl: Acl | None = None

    @property
    def identity(self) -> str:
        """The name in logs; empty for an anonymous caller."""
        return self.names[0] if self.names else ANONYMOUS

    @property
    def is_unlimited(self) -> bool:
        """Whether no rules apply to the caller."""
        return self._acl is None

    def may(self, verb: Verb, topic: str = ALL_TOPICS) -> bool:
        """Whether the caller may do this."""
        return self._acl is None or self._acl.allows(self.names, verb, topic)

    def demand(self, verb: Verb, topic: str = ALL_TOPICS) -> None:
        """Return if the caller may do this.

        Raises:
            PermissionDenied: it may not.
        """
        if self.may(verb, topic):
            return
        on = "" if verb is Verb.STOP else " on all topics" if topic == ALL_TOPICS else f" on topic {topic}"
        metadata = {"identity": self.identity, "verb": str(verb)}
        if on and topic != ALL_TOPICS:
            metadata["topic"] = topic
        raise PermissionDenied(f"no rule gives {self.identity} the right to {verb}{on}", metadata=metadata)


NOBODY = Caller(())
"""An anonymous caller who may do everything."""


class Access:
    """Identifies callers by bearer token or certificate. Without either, everybody may do everything.

    Args:
        tokens: those of the tokens file.
        jwts: checks JSON Web Tokens.
        certificates: whether clients must have a certificate, which TLS has checked.
        acl: the rules. None: every identified caller may do everything.
    """

    def __init__(
        self,
        tokens: Reloading[Tokens] | None = None,
        jwts: Jwts | None = None,
        acl: Reloading[Acl] | None = None,
        *,
        certificates: bool = False,
    ) -> None:
        self._tokens = tokens
        self._jwts = jwts
        self._certificates = certificates
        self._acl = acl

    @property
    def is_open(self) -> bool:
        """Whether callers need no credentials."""
        return not self.takes_tokens and not self._certificates

    @property
    def takes_tokens(self) -> bool:
        """Whether a bearer token can identify a caller."""
        return self._tokens is not None or self._jwts is not None

    async def recognize(self, authorization: str | None, certificate_names: Callable[[], tuple[str, ...]]) -> Caller:
        """Identify a caller by the bearer token, or by the certificate if there is no token.

        Args:
            authorization: the header of that name, if there is one.
            certificate_names: returns the names in the client's certificate, none if it has no certificate.

        Raises:
            Unauthenticated: there are no credentials, or they are not accepted.
        """
        if self.is_open:
            return NOBODY
        if authorization is not None and self.takes_tokens:
            names: tuple[str, ...] = (await self._bearer(authorization),)
        else:
            names = certificate_names() if self._certificates else ()
        if not names:
            raise Unauthenticated("credentials are required, such as a bearer token")
        return Caller(names, self._acl.current() if self._acl else None)

    async def _bearer(self, authorization: str) -> str:
        scheme, _, token = authorization.partition(" ")
        if scheme.lower() != "bearer" or not token:
            raise Unauthenticated("the authorization header is not a bearer token")
        if self._tokens is not None:
            identity = identity_of(self._tokens.current(), token)
            if identity is not None:
                return identity
        if self._jwts is None:
            raise Unauthenticated("the token is not known")
        try:
            return await self._jwts.identity_of(token)
        except JwtRefusedError as error:
            raise Unauthenticated(str(error)) from None
