"""The files of the server's certificate, and of the authority whose client certificates it accepts."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from duebus_server.security.errors import BadFileError, unreadable

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class CertificateFiles:
    """Paths of PEM files. With ``client_ca``, clients must have a certificate signed by it (mutual TLS)."""

    certificate: Path
    key: Path
    client_ca: Path | None = None

    @property
    def paths(self) -> list[Path]:
        """All paths."""
        return [path for path in (self.certificate, self.key, self.client_ca) if path is not None]


@dataclass(frozen=True, slots=True)
class Certificates:
    """The contents of the files."""

    certificate: bytes
    key: bytes
    client_ca: bytes | None


def read_certificates(files: CertificateFiles) -> Certificates:
    """Read the files, and check that a server can use them.

    Raises:
        BadFileError: a file can't be read or isn't PEM, a certificate is not valid now, or the key doesn't match.
    """
    certificate, key = _read(files.certificate), _read(files.key)
    client_ca = _read(files.client_ca) if files.client_ca else None
    own = _check(files.certificate, certificate)
    if files.client_ca is not None and client_ca is not None:
        _check(files.client_ca, client_ca)
    try:
        private_key = load_pem_private_key(key, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise BadFileError(files.key, "is not a private key in PEM without a passphrase") from error
    if private_key.public_key() != own.public_key():
        raise BadFileError(files.key, f"is not the key of {files.certificate}")
    return Certificates(certificate, key, client_ca)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise unreadable(path, error) from error


def _check(path: Path, pem: bytes) -> x509.Certificate:
    """The first certificate of a file, provided that all in it are valid now."""
    try:
        found = x509.load_pem_x509_certificates(pem)
    except ValueError as error:
        raise BadFileError(path, "has no certificate in PEM") from error
    now = datetime.now(UTC)
    for one in found:
        if one.not_valid_after_utc < now:
            raise BadFileError(path, f"the certificate expired on {one.not_valid_after_utc:%Y-%m-%d %H:%M} UTC")
        if one.not_valid_before_utc > now:
            raise BadFileError(
                path, f"the certificate is not valid before {one.not_valid_before_utc:%Y-%m-%d %H:%M} UTC"
            )
    return found[0]
