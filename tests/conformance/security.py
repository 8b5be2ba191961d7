"""The certificates and tokens of secured servers and their clients, made once for all cases."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import grpc
from support.secured import make_secured
from support.tls import make_certificates

if TYPE_CHECKING:
    from pathlib import Path

RUNNER = "runner"
"""The identity with which the runner inspects servers."""

IDENTITIES = ("shop", "producer", "reader", RUNNER)
"""The identities that have a token; cases.yaml has their rules."""

SECURED = ("tls", "mutual")
"""TLS with tokens, without and with client certificates."""


class Security:
    """Certificates and tokens.

    Attributes:
        trusted: the servers' certificates, of an authority that clients and servers trust.
        foreign: certificates of an authority that no one trusts.
        expired: expired certificates of an authority that servers trust.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._secured = make_secured(_made(folder / "trusted"), *IDENTITIES)
        self.trusted = self._secured.certificates
        self.foreign = make_certificates(_made(folder / "foreign"))
        self.expired = make_certificates(_made(folder / "expired"), days=-1, authority="another authority")
        self._authorities = folder / "authorities.pem"
        self._authorities.write_text(self.trusted.ca.read_text() + self.expired.ca.read_text())

    def flags(self, kind: str, rules: str) -> list[str]:
        """The flags of a server with one of SECURED and these rules."""
        acl_file = self._folder / f"{kind}.toml"
        acl_file.write_text(rules)
        flags = [*self._secured.tls_flags(), *self._secured.token_flags(), "--acl-file", str(acl_file)]
        return [*flags, "--tls-client-ca", str(self._authorities)] if kind == "mutual" else flags

    def channel(self, address: str) -> grpc.Channel:
        """The credentials of the runner's own calls to a secured server."""
        files = (self.trusted.ca, self.trusted.client_key, self.trusted.client)
        transport = grpc.ssl_channel_credentials(*(file.read_bytes() for file in files))
        token = grpc.access_token_call_credentials(self._secured.tokens[RUNNER])
        return grpc.secure_channel(address, grpc.composite_channel_credentials(transport, token))

    def names(self) -> dict[str, Any]:
        """The predefined names of each case: the texts of PEM files, and the tokens."""
        sets = {"": self.trusted, "other_": self.foreign, "expired_": self.expired}
        files = {
            f"{prefix}{name}": file.read_text()
            for prefix, each in sets.items()
            for name, file in (("ca", each.ca), ("cert", each.client), ("key", each.client_key))
        }
        return files | {f"token_of_{identity}": token for identity, token in self._secured.tokens.items()}


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder
