"""The image's health check: ``python -m duebus_server.ops.healthcheck`` ends with 0 if the server is ready.

It asks the HTTP port, which has neither TLS nor tokens. It imports little, because it runs every few seconds.
"""

import os
import socket
import sys

TIMEOUT_S = 4.0


def main() -> None:
    """Print what ``/readyz`` answers at DUEBUS_HTTP_LISTEN, and exit with 1 if the server is not ready."""
    listen = os.environ.get("DUEBUS_HTTP_LISTEN", "")
    try:
        status, said = ask(listen)
    except (OSError, ValueError) as error:
        sys.exit(f"can't reach the server's HTTP port, DUEBUS_HTTP_LISTEN={listen}: {error}")
    print(said)  # noqa: T201  # Docker keeps it
    sys.exit(0 if status == "200" else 1)


def ask(listen: str) -> tuple[str, str]:
    """The status and the body of the answer.

    Args:
        listen: HOST:PORT, where the server listens. A wildcard is asked on the loopback.

    Raises:
        OSError: there is no answer in time.
        ValueError: this is not HOST:PORT, or the answer is not HTTP.
    """
    host, _, port = listen.rpartition(":")
    reachable = {"0.0.0.0": "127.0.0.1", "[::]": "::1"}.get(host, host.strip("[]"))  # noqa: S104  # not to bind to
    with socket.create_connection((reachable, int(port)), TIMEOUT_S) as connection:
        connection.sendall(b"GET /readyz HTTP/1.0\r\nHost: localhost\r\n\r\n")
        answer = b"".join(iter(lambda: connection.recv(4096), b"")).decode()
    head, _, body = answer.partition("\r\n\r\n")
    _, status, _ = head.split(" ", 2)
    return status, body.strip()


if __name__ == "__main__":
    main()
