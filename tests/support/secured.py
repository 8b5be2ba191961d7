"""Servers with TLS, tokens and rules, and clients that have access."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from duebus import tls
from duebus.aio import Client
from duebus_server.security.token_file import file_line, new_token

from support.tls import Certificates, make_certificates

if TYPE_CHECKING:
    from pathlib import Path

SIGNAL_TIMEOUT_S = 30.0


@dataclass(frozen=True)
class Secured:
    """The files of a secured server.

    Attributes:
        tokens: the tokens by identity.
    """

    folder: Path
    certificates: Certificates
    tokens: dict[str, str]

    @property
    def tokens_file(self) -> Path:
        """Their digests."""
        return self.folder / "tokens"

    @property
    def acl_file(self) -> Path:
        """The rules, if there are any."""
        return self.folder / "acl.toml"

    def write_tokens(self, *identities: str) -> None:
        """Replace the accepted tokens."""
        lines = [file_line(identity, self.tokens[identity]) for identity in identities]
        self.tokens_file.write_text("\n".join(lines) + "\n")
        self.tokens_file.chmod(0o600)

    def tls_flags(self, *, mutual: bool = False) -> tuple[str, ...]:
        """The server's flags for TLS."""
        files = self.certificates
        flags = ("--tls-cert", str(files.server), "--tls-key", str(files.server_key))
        return (*flags, "--tls-client-ca", str(files.ca)) if mutual else flags

    def token_flags(self) -> tuple[str, ...]:
        """The server's flags for tokens."""
        return ("--tokens-file", str(self.tokens_file))

    def acl_flags(self, rules: str) -> tuple[str, ...]:
        """The server's flags for these rules."""
        self.acl_file.write_text(rules)
        return ("--acl-file", str(self.acl_file))


def make_secured(folder: Path, *identities: str) -> Secured:
    """Certificates, and a token for each identity."""
    secured = Secured(folder, make_certificates(folder), {identity: new_token() for identity in identities})
    secured.write_tokens(*identities)
    return secured


def rule(identity: str, *verbs: str, topics: str = "*") -> str:
    """A rule that lets an identity do this on the topics that match a pattern."""
    return f'[[rule]]\nidentity = "{identity}"\nverbs = {json.dumps(verbs)}\ntopics = ["{topics}"]\n'


def client(address: str, token: str | None = None, **options: Any) -> Client:
    """A client with its own connection and a short timeout."""
    own = (("grpc.use_local_subchannel_pool", 1),)
    return Client(address, token=token, timeout=options.pop("timeout", SIGNAL_TIMEOUT_S), options=own, **options)


def tls_client(address: str, certificates: Certificates, *, mutual: bool = False, **options: Any) -> Client:
    """A client that uses TLS and, if mutual, presents a certificate."""
    own = {"cert": certificates.client, "key": certificates.client_key} if mutual else {}
    return client(address, credentials=tls(certificates.ca, **own), **options)
