"""The transactional outbox, apart from any database library: what a row holds, and the relay that sends rows.

A program writes a row in the transaction of its own changes, so that both are committed or neither. A relay reads the
rows and dispatches their events. If it dies between the dispatch and the removal of the row, the event is dispatched
again with the same id, which adds nothing within the topic's dedupe window.
"""

import logging
import re
import threading
import time
import uuid
import zlib
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime, timedelta
from itertools import groupby
from operator import attrgetter
from typing import Any, NamedTuple, Protocol

from duebus._core.backoff import Backoff
from duebus._core.events import encode_fields
from duebus._core.fields import Span
from duebus._core.model import NewEvent
from duebus.client import Client
from duebus.errors import DeadlineExceeded, DueBusError, InvalidArgument, MaxQueuedEventsReached, Unavailable
from duebus.v1 import event_bus_pb2

__all__ = ["CHANNEL", "CLAIMED_SLOTS", "SLOTS", "Claim", "Relay", "Row", "Store", "new_row"]

_log = logging.getLogger("duebus.outbox")

SLOTS = 64
"""Each row belongs to one of so many slots, by its key. A relay claims slots, so that a key has one relay at a time."""

CLAIMED_SLOTS = 16
"""The most slots that a relay claims at once. The others are left to further relays."""

CHANNEL = "duebus_outbox"
"""The channel of PostgreSQL on which a transaction announces its rows when it is committed."""

_BATCH_ROWS = 500
_BATCH_BYTES = 2 << 20
"""The most that one dispatch holds. A server takes 1,000 events and 4 MiB; an event has at most 1 MiB."""

_MAX_DATA_BYTES = 1 << 20
_TIMEOUT_S = 5.0
_TOPIC = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,254}")


class Row(NamedTuple):
    """A row of the outbox.

    Attributes:
        id: Its number. Rows of one key are sent in this order.
        topic: The event's topic.
        event: A serialized `duebus.v1.Event` with an id, and with a moment instead of a delay.
    """

    id: int
    topic: str
    event: bytes


def new_row(
    topic: str,
    data: Any,
    *,
    id: str = "",  # noqa: A002 - the event's field has this name
    delay: Span | None = None,
    at: datetime | None = None,
    attributes: Mapping[str, str] | None = None,
    content_type: str | None = None,
    max_retries: int | None = None,
    key: str = "",
    priority: int = 0,
) -> dict[str, Any]:
    """The columns of a new row: `event_id`, `topic`, `slot`, `event` and `created_at`.

    The arguments are those of `Client.dispatch`. A delay begins now, by this program's clock, and not when a relay
    sends the row.

    Raises:
        TypeError: an argument has the wrong type.
        InvalidArgument: an argument is malformed or out of its range; `field_violations` names it.
    """
    if not isinstance(topic, str) or not _TOPIC.fullmatch(topic):
        raise InvalidArgument.of_field("topic", f"must match {_TOPIC.pattern}")
    event = encode_fields(
        data,
        id=id or str(uuid.uuid4()),
        delay=delay,
        at=at,
        attributes=attributes,
        content_type=content_type,
        max_retries=max_retries,
        key=key,
        priority=priority,
    )
    if len(event.data) > _MAX_DATA_BYTES:
        raise InvalidArgument.of_field("data", f"has {len(event.data)} bytes, at most {_MAX_DATA_BYTES} are allowed")
    now = datetime.now(UTC)
    if event.HasField("delay"):
        event.deliver_at.FromDatetime(now + event.delay.ToTimedelta())
    return {
        "event_id": event.id,
        "topic": topic,
        "slot": zlib.crc32((event.key or event.id).encode()) % SLOTS,
        "event": event.SerializeToString(),
        "created_at": now,
    }


def _event_of(row: Row) -> NewEvent:
    event = event_bus_pb2.Event.FromString(row.event)
    return NewEvent(
        data=event.data,
        id=event.id,
        at=event.deliver_at.ToDatetime(UTC) if event.HasField("deliver_at") else None,
        attributes=dict(event.attributes),
        content_type=event.content_type,
        max_retries=event.max_retries if event.HasField("max_retries") else None,
        key=event.key,
        priority=event.priority,
    )


class Claim(Protocol):
    """Rows that no other relay sends meanwhile.

    Attributes:
        rows: In the order of their ids.
    """

    rows: Sequence[Row]

    def remove(self, ids: Sequence[int]) -> None:
        """Remove rows whose events are dispatched."""

    def set_error(self, row_id: int, reason: str) -> None:
        """Keep a row that can't be sent, and don't claim it again while it has an error."""


class Store(Protocol):
    """The table of rows."""

    def prepare(self) -> None:
        """Make the slots, unless they exist."""

    def claim(self, limit: int, except_topics: Sequence[str]) -> AbstractContextManager[Claim]:
        """Claim slots with rows, those with the oldest rows first. What was changed is committed when the block ends.

        Args:
            limit: The most rows.
            except_topics: Whose rows are left out.
        """

    def wait(self, timeout_s: float, stopped: threading.Event) -> None:
        """Return when there may be new rows, when the time has passed, or soon after `stopped` is set."""

    def close(self) -> None:
        """Release what `wait` uses."""


class Relay:
    """Dispatches the events of an outbox until it is stopped.

        relay = outbox.relay(engine, Client("127.0.0.1:50051"))
        with relay.running():
            ...

    Any number of relays may run. Rows of one key are sent in order, by one relay at a time. If a topic is full, or the
    server can't be reached, its rows wait, and the others are sent. A row that the server refuses as malformed keeps
    the reason in its column `error` and is not sent again until that is NULL.

    Args:
        store: The table.
        client: Sends the events. It is not closed.
        poll: How often to look for rows that were not announced: a timedelta or seconds.
    """

    def __init__(self, store: Store, client: Client, *, poll: Span = 1.0) -> None:
        self._store = store
        self._client = client
        self._poll_s = poll.total_seconds() if isinstance(poll, timedelta) else float(poll)
        self._prepared = False
        self._stopped = threading.Event()
        self._backoffs: dict[str, Backoff] = {}
        self._not_before: dict[str, float] = {}

    def run(self) -> None:
        """Send rows until `stop` is called. While the database can't be reached, it tries again, forever."""
        backoff = Backoff()
        try:
            while not self._stopped.is_set():
                try:
                    if not self.send():
                        self._store.wait(self._poll_s, self._stopped)
                    backoff.reset()
                except Unavailable as error:
                    _log.warning("the outbox waits for the server: %s", error)
                    self._stopped.wait(backoff.next())
                except Exception as error:  # noqa: BLE001 - each database library has its own
                    _log.warning("the outbox can't be read: %s", error)
                    self._stopped.wait(backoff.next())
        finally:
            self._store.close()

    def stop(self) -> None:
        """Make `run` return: at the latest when the batch under way is sent, or its timeout of 5 s has passed."""
        self._stopped.set()

    @contextmanager
    def running(self) -> Iterator["Relay"]:
        """Run in a thread for as long as the block lasts."""
        thread = threading.Thread(target=self.run, name="duebus-outbox", daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self.stop()
            thread.join()

    def send(self) -> int:
        """Send one batch of rows. Returns how many were sent.

        Raises:
            Unavailable: the server can't be reached, or does not answer. What was sent before is removed.
        """
        if not self._prepared:
            self._store.prepare()
            self._prepared = True
        now = time.monotonic()
        waiting = [topic for topic, until in self._not_before.items() if until > now]
        sent = 0
        outage: DueBusError | None = None
        with self._store.claim(_BATCH_ROWS, waiting) as claim:
            by_topic = sorted(claim.rows, key=attrgetter("topic"))  # stable: ids stay in order
            for topic, rows in groupby(by_topic, attrgetter("topic")):
                try:
                    sent += self._send_topic(claim, topic, list(rows))
                except (Unavailable, DeadlineExceeded) as error:
                    outage = error
                    break
        if outage is not None:
            raise Unavailable(str(outage)) from outage
        return sent

    def _send_topic(self, claim: Claim, topic: str, rows: list[Row]) -> int:
        """Send the rows of one topic, in order, up to the first that is refused."""
        sent = 0
        left = deque(_batches(rows))
        while left:
            batch = left.popleft()
            try:
                removed = self._send_batch(claim, topic, batch)
            except (Unavailable, DeadlineExceeded):
                raise
            except DueBusError as error:
                if isinstance(error, MaxQueuedEventsReached) and len(batch) > 1:
                    half = len(batch) // 2
                    left.extendleft((batch[half:], batch[:half]))  # a topic may have room for fewer
                    continue
                self._postpone(topic, error)
                break
            claim.remove(removed)
            sent += len(removed)
            self._backoffs.pop(topic, None)
            self._not_before.pop(topic, None)
        return sent

    def _send_batch(self, claim: Claim, topic: str, batch: list[Row]) -> list[int]:
        """Dispatch rows. Returns the ids of those that were dispatched; the others have got an error."""
        try:
            self._client.dispatch_many(topic, [_event_of(row) for row in batch], timeout=_TIMEOUT_S)
        except InvalidArgument as error:
            if len(batch) > 1:
                return [each for row in batch for each in self._send_batch(claim, topic, [row])]
            _log.error("row %d of the outbox can't be sent to %s: %s", batch[0].id, topic, error)
            claim.set_error(batch[0].id, str(error))
            return []
        return [row.id for row in batch]

    def _postpone(self, topic: str, error: DueBusError) -> None:
        """Leave a topic alone for a while."""
        pause_s = self._backoffs.setdefault(topic, Backoff()).next()
        if error.retry_after is not None:
            pause_s = max(pause_s, error.retry_after.total_seconds())
        self._not_before[topic] = time.monotonic() + pause_s
        _log.warning("rows of the outbox for %s wait: %s", topic, error)


def _batches(rows: list[Row]) -> Iterator[list[Row]]:
    """Cut rows into batches that one dispatch can hold."""
    batch: list[Row] = []
    size = 0
    for row in rows:
        if batch and size + len(row.event) > _BATCH_BYTES:
            yield batch
            batch, size = [], 0
        batch.append(row)
        size += len(row.event)
    if batch:
        yield batch
