"""TLS for HTTP, with certificates that change while the server runs."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

import structlog

if TYPE_CHECKING:
    from duebus_server.security.certificates import CertificateFiles, Certificates
    from duebus_server.security.reloading import Reloading

log = structlog.get_logger()


def tls_context(files: CertificateFiles, certificates: Reloading[Certificates]) -> ssl.SSLContext:
    """A context that checks for changed files before each handshake. Open connections are not affected.

    Args:
        files: the paths, which OpenSSL reads.
        certificates: their contents, which have been checked.
    """
    in_use, latest = certificates.current(), _context(files)

    def renew(connection: ssl.SSLObject, _name: str | None, _context_in_use: ssl.SSLContext) -> None:
        nonlocal in_use, latest
        if (newest := certificates.current()) is not in_use:
            in_use = newest
            try:
                latest = _context(files)
            except (OSError, ssl.SSLError) as error:  # they have changed again since they were checked
                log.error("changed certificate not used", error=str(error))  # noqa: TRY400  # the text is enough
        connection.context = latest

    first = _context(files)
    first.sni_callback = renew  # called for every handshake, with a name or without
    return first


def _context(files: CertificateFiles) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(files.certificate, files.key)
    context.set_alpn_protocols(["http/1.1"])
    if files.client_ca is not None:
        context.load_verify_locations(files.client_ca)
        context.verify_mode = ssl.CERT_REQUIRED
    return context
