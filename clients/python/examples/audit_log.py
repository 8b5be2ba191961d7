"""Side work: a request is answered at once, and a worker writes its audit entry afterwards.

    .venv/bin/duebus serve                                       in one shell
    .venv/bin/python clients/python/examples/audit_log.py        in another

It ends when all entries are written.
"""

import os
import time

from duebus import Client, Delivery, Worker

SERVER = os.environ.get("DUEBUS_SERVER", "127.0.0.1:50051")

worker = Worker(SERVER)
audit_log: dict[str, str] = {}
unwritten: set[str] = set()


def handle_request(bus: Client, user: str, action: str) -> None:
    """Handles a web request. It does not wait for the audit log, even if that is slow or broken."""
    began = time.perf_counter()
    dispatched = bus.dispatch("audit.entry", {"user": user, "action": action})
    unwritten.add(dispatched.event_id)
    print(f"{user}: {action}, answered after {(time.perf_counter() - began) * 1000:.0f} ms")


@worker.on("audit.entry", group="audit-log", concurrency=1)
def write_entry(delivery: Delivery) -> None:
    """A plain function runs on a thread, so it may block. If it returns, the event is acked; if it raises, retried."""
    time.sleep(0.1)  # a slow database
    entry = delivery.json()
    # Delivery is at least once. With the event's id as the key, writing an entry twice does no harm.
    audit_log[delivery.event_id] = f"{entry['user']}: {entry['action']}"
    print(f"audit log: {audit_log[delivery.event_id]}")
    unwritten.discard(delivery.event_id)
    if not unwritten:
        worker.request_stop()  # only because this is an example; a worker runs until SIGTERM or Ctrl-C


if __name__ == "__main__":
    with Client(SERVER) as bus:
        handle_request(bus, "ada", "signed in")
        handle_request(bus, "ada", "changed her address")
        handle_request(bus, "bob", "signed in")
    # Nobody has subscribed yet. The events wait.
    worker.run()
