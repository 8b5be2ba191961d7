"""What secured servers and their clients show each other, made once for all cases."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import grpc
from support.secured import make_secured
from support.tls import make_certificates

if TYPE_CHECKING:
    from pathlib import Path

RUNNER = "runner"
"""The identity by which the runner looks at what a server holds."""

IDENTITIES = ("shop", "producer", "reader", RUNNER)
"""Those who have a token. What they may do is said in cases.yaml."""

SECURED = ("tls", "mutual")
"""TLS with tokens, without and with certificates of the clients."""


class Security:
    """Certificates and tokens.

    Attributes:
        trusted: what servers show, with an authority that clients trust and servers too.
        foreign: that of an authority that nobody trusts.
        expired: certificates that have expired, of an authority that servers trust.
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
        """The server's flags for one of SECURED, with these rules."""
        acl_file = self._folder / f"{kind}.toml"
        acl_file.write_text(rules)
        flags = [*self._secured.tls_flags(), *self._secured.token_flags(), "--acl-file", str(acl_file)]
        return [*flags, "--tls-client-ca", str(self._authorities)] if kind == "mutual" else flags

    def channel(self, address: str) -> grpc.Channel:
        """For the runner's own calls to a server of any of SECURED."""
        files = (self.trusted.ca, self.trusted.client_key, self.trusted.client)
        transport = grpc.ssl_channel_credentials(*(file.read_bytes() for file in files))
        token = grpc.access_token_call_credentials(self._secured.tokens[RUNNER])
        return grpc.secure_channel(address, grpc.composite_channel_credentials(transport, token))

    def names(self) -> dict[str, Any]:
        """What each case finds given: texts of PEM files, and the tokens."""
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
