"""Credentials for TLS, from files."""

from pathlib import Path

import grpc

__all__ = ["tls"]


def tls(
    ca: str | Path | None = None, *, cert: str | Path | None = None, key: str | Path | None = None
) -> grpc.ChannelCredentials:
    """Makes credentials for `Client(credentials=...)` from PEM files.

    The files are read once: create a new client when a certificate is renewed.

    Args:
        ca: The authorities to trust; None: gRPC's default ones.
        cert: The client's own certificate, for a server that asks for one, with `key`.
        key: The key of that certificate.

    Raises:
        OSError: A file can't be read.
        ValueError: One of `cert` and `key` is missing.
    """
    if (cert is None) != (key is None):
        raise ValueError("cert and key: each requires the other")
    return grpc.ssl_channel_credentials(
        *(None if file is None else Path(file).read_bytes() for file in (ca, key, cert))
    )
