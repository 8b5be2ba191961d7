"""Certificates for tests, made with openssl."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True)
class Certificates:
    """Files: an authority, and the certificates it signed for a server on the loopback interface and for a client."""

    ca: Path
    server: Path
    server_key: Path
    client: Path
    client_key: Path


def make_certificates(folder: Path, days: int = 1, authority: str = "an authority") -> Certificates:
    """An authority and two certificates, valid for ``days``; a negative number makes them expired."""
    ca, ca_key = folder / "ca.pem", folder / "ca.key"
    new_key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
    _openssl("req", "-x509", *new_key, "-keyout", ca_key, "-out", ca, "-subj", f"/CN={authority}", "-days", "1")
    made = []
    for name in ("server", "client"):
        certificate, key, request = (folder / f"{name}.{kind}" for kind in ("pem", "key", "csr"))
        _openssl("req", *new_key, "-keyout", key, "-out", request, "-subj", f"/CN={name}")
        names = folder / "names"
        names.write_text("subjectAltName=DNS:localhost,IP:127.0.0.1")
        signed_by = ("-CA", ca, "-CAkey", ca_key, "-CAcreateserial")
        validity = ("-days", days, "-extfile", names)
        _openssl("x509", "-req", "-in", request, *signed_by, "-out", certificate, *validity)
        made += [certificate, key]
    return Certificates(ca, *made)


def _openssl(*arguments: object) -> None:
    subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True)
