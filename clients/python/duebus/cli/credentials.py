"""The credentials of a command, and the authorities that it trusts."""

import os
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Self

from duebus.cli.failures import CommandFailed
from duebus.cli.output import note

__all__ = ["Credentials"]

VARIABLES = {
    "tls_ca": "DUEBUS_TLS_CA",
    "tls_cert": "DUEBUS_CLIENT_CERT",
    "tls_key": "DUEBUS_CLIENT_KEY",
    "token_file": "DUEBUS_TOKEN_FILE",
    "token": "DUEBUS_TOKEN",
}
"""The environment variables of the options."""

OF_THE_SERVER = "DUEBUS_TLS_CERT"
"""A setting of the server, which earlier builds took for the client's certificate."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """The options for TLS and tokens; None for those that were not given."""

    tls_ca: Path | None = None
    tls_cert: Path | None = None
    tls_key: Path | None = None
    token_file: Path | None = None
    token: str | None = None

    @classmethod
    def from_environment(cls) -> Self:
        """Reads the variables of VARIABLES; empty is unset."""
        found = {name: os.environ.get(variable) or None for name, variable in VARIABLES.items()}
        token = found.pop("token")
        return cls(**{name: None if path is None else Path(path) for name, path in found.items()}, token=token)

    def over(self, other: "Credentials") -> "Credentials":
        """These, completed by those of `other`; a token file takes precedence over a token of `other`."""
        chosen = {each.name: getattr(self, each.name) or getattr(other, each.name) for each in fields(self)}
        if self.token_file is not None:
            chosen["token"] = None
        return Credentials(**chosen)

    def read(self) -> dict[str, Any]:
        """The arguments of a client.

        Raises:
            CommandFailed: a file can't be read, or one is missing.
        """
        from duebus._core.tls import tls  # noqa: PLC0415  # loads gRPC, which --help does without

        found: dict[str, Any] = {}
        if self.tls_ca and not self.tls_cert and os.environ.get(OF_THE_SERVER):
            note(f"{OF_THE_SERVER} is the certificate of duebus serve; that of a client is {VARIABLES['tls_cert']}")
        try:
            if self.tls_ca or self.tls_cert or self.tls_key:
                found["credentials"] = tls(self.tls_ca, cert=self.tls_cert, key=self.tls_key)
            if self.token is not None:
                found["token"] = self.token
            elif self.token_file is not None:
                found["token"] = self.token_file.read_text().strip()
        except OSError as error:
            raise CommandFailed(f"{error.filename}: {(error.strerror or str(error)).lower()}") from error
        except ValueError as error:
            raise CommandFailed("--tls-cert and --tls-key: each requires the other") from error
        return found
