"""Stands in for Ryuk, the reaper of Testcontainers, where its image can't be pulled. It too runs in a container.

A test's process connects, and sends lines of filters such as `label=NAME=VALUE`, URL-encoded and joined by `&`. Each is
answered with ACK. When nobody has been connected for a while, the containers that match a filter are removed.
"""

from __future__ import annotations

import json
import socket
import socketserver
import threading
from http.client import HTTPConnection
from urllib.parse import parse_qs, urlencode

PORT = 8080
FIRST_CONNECTION_S = 60.0
RECONNECTION_S = 10.0


class Engine(HTTPConnection):
    """A connection to the Docker engine."""

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect("/var/run/docker.sock")

    def call(self, method: str, path: str) -> bytes:
        self.request(method, path)
        return self.getresponse().read()


class Reaper(socketserver.ThreadingTCPServer):
    """Ends when nobody has been connected for a while.

    Attributes:
        filters: what it is to remove, each a list of labels.
    """

    allow_reuse_address = True
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("", PORT), Connection)
        self.filters: set[tuple[str, ...]] = set()
        self._lock = threading.Lock()
        self._connected = 0
        self._end = self._end_after(FIRST_CONNECTION_S)

    def connected(self) -> None:
        with self._lock:
            self._connected += 1
            self._end.cancel()

    def disconnected(self) -> None:
        with self._lock:
            self._connected -= 1
            if self._connected == 0:
                self._end = self._end_after(RECONNECTION_S)

    def _end_after(self, seconds: float) -> threading.Timer:
        timer = threading.Timer(seconds, self.shutdown)
        timer.start()
        return timer


class Connection(socketserver.StreamRequestHandler):
    """A test's process."""

    server: Reaper

    def handle(self) -> None:
        self.server.connected()
        try:
            for line in self.rfile:
                labels = parse_qs(line.decode().strip()).get("label", [])
                if labels:
                    self.server.filters.add(tuple(labels))
                self.wfile.write(b"ACK\n")
        finally:
            self.server.disconnected()


def remove(labels: tuple[str, ...]) -> None:
    """Remove the containers that have all of the labels, with their volumes."""
    query = urlencode({"all": 1, "filters": json.dumps({"label": labels})})
    engine = Engine("docker")
    for container in json.loads(engine.call("GET", f"/containers/json?{query}")):
        engine.call("DELETE", f"/containers/{container['Id']}?force=1&v=1")


if __name__ == "__main__":
    with Reaper() as reaper:
        print("Started", flush=True)  # noqa: T201  # what Testcontainers waits for
        reaper.serve_forever()
        for labels in reaper.filters:
            remove(labels)
