"""Webhooks to downstream services: retried while the receiver is busy, and given up if it is gone.

    .venv/bin/duebus serve                                    in one shell
    .venv/bin/python clients/python/examples/webhook.py       in another

One receiver is busy at first, one always, and one is gone. To keep it short, events are retried once, not 3 times.
"""

import os
import threading
from http import HTTPStatus
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, HTTPServer
from urllib.parse import urlsplit

from duebus import Client, DeadLetter, Delivery, RetryAfter, Worker

SERVER = os.environ.get("DUEBUS_SERVER", "127.0.0.1:50051")
worker = Worker(SERVER, group="webhooks")
ANSWERS = {"/busy": [503, 200], "/down": [503, 503], "/gone": [410]}


class Receiver(BaseHTTPRequestHandler):
    """The downstream services."""

    def do_POST(self) -> None:
        """Sends the next answer of this path."""
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response_only(ANSWERS[self.path].pop(0))
        self.send_header("Retry-After", "1")
        self.end_headers()
        if not any(ANSWERS.values()):
            worker.request_stop()  # the last one; its handler still finishes


@worker.on("order.shipped", concurrency=1)
def notify(delivery: Delivery) -> None:
    """Sends the event with its id, so that a receiver can recognize one that it has already seen."""
    url = urlsplit(delivery.attributes["url"])
    connection = HTTPConnection(url.netloc, timeout=10)
    connection.request("POST", url.path, delivery.data, {"Idempotency-Key": delivery.event_id})
    response = connection.getresponse()
    print(f"{url.path}: attempt {delivery.attempt}, answer {response.status}")
    if response.status == HTTPStatus.GONE:
        raise DeadLetter("the receiver is gone")  # no retry can help
    if response.status != HTTPStatus.OK:
        raise RetryAfter(int(response.headers["Retry-After"]), f"the receiver answered {response.status}")


if __name__ == "__main__":
    receiver = HTTPServer(("127.0.0.1", 0), Receiver)
    threading.Thread(target=receiver.serve_forever, daemon=True).start()
    with Client(SERVER) as bus:
        urls = [f"http://127.0.0.1:{receiver.server_port}{path}" for path in ANSWERS]
        sent = [bus.dispatch("order.shipped", {"id": 7}, attributes={"url": url}, max_retries=1) for url in urls]
        worker.run()
        for dead in bus.admin.list_events("order.shipped", "dead", group="webhooks"):
            if dead.event_id in {event.event_id for event in sent}:
                print(f"dead: {urlsplit(dead.attributes['url']).path}, {dead.groups[0].last_error}")
