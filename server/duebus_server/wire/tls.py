"""TLS with certificates that change while the server runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import grpc

if TYPE_CHECKING:
    from duebus_server.security.certificates import Certificates
    from duebus_server.security.reloading import Reloading


def server_credentials(certificates: Reloading[Certificates]) -> grpc.ServerCredentials:
    """Credentials that check for changed files before each handshake. Open connections are not affected."""
    in_use = certificates.current()

    def fetch() -> grpc.ServerCertificateConfiguration | None:
        """Called on a gRPC thread. None if nothing has changed."""
        nonlocal in_use
        newest = certificates.current()
        if newest is in_use:
            return None
        in_use = newest
        return _configuration(newest)

    return grpc.dynamic_ssl_server_credentials(
        _configuration(in_use),
        fetch,  # type: ignore[arg-type]  # the stubs omit the documented None
        require_client_authentication=in_use.client_ca is not None,
    )


def _configuration(certificates: Certificates) -> grpc.ServerCertificateConfiguration:
    pair = (certificates.key, certificates.certificate)
    return grpc.ssl_server_certificate_configuration([pair], certificates.client_ca)
