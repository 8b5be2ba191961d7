"""The credentials of a command, and the authorities that it trusts."""

import os
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Self

from duebus.cli.failures import CommandFailed

__all__ = ["Credentials"]


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
        """Reads DUEBUS_TLS_CA, DUEBUS_TLS_CERT, DUEBUS_TLS_KEY, DUEBUS_TOKEN_FILE and DUEBUS_TOKEN; empty is unset.

        Without DUEBUS_TLS_CA the certificate is ignored: in a server's environment it is the server's.
        """
        found = {each.name: os.environ.get(f"DUEBUS_{each.name.upper()}") or None for each in fields(cls)}
        token = found.pop("token")
        if found["tls_ca"] is None:
            found["tls_cert"] = found["tls_key"] = None
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
