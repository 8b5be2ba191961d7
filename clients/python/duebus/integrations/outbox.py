"""The transactional outbox, independent of any database library: what a row holds, and the relay that sends rows.

A program writes a row in the transaction of its own changes, so that both are committed or neither. A relay reads the
rows and dispatches their events. If it dies between the dispatch and the removal of the row, the event is dispatched
again with the same id, which adds nothing within the topic's dedupe window.
"""

import inspect
import logging
import math
import re
import threading
import time
import uuid
import zlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from datetime import UTC, datetime, timedelta
from itertools import chain
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

from google.protobuf.message import DecodeError

from duebus._core.backoff import Backoff
from duebus._core.events import encode_fields
from duebus._core.fields import Span
from duebus._core.model import NewEvent
from duebus.client import Client
from duebus.errors import DueBusError, InvalidArgument, MaxQueuedEventsReached
from duebus.v1 import event_bus_pb2
from duebus.worker.outages import Outage

__all__ = [
    "CHANNEL",
    "MAX_ERROR",
    "MYSQL",
    "SLOTS",
    "TOPIC",
    "Claim",
    "Relay",
    "Row",
    "Store",
    "first_free",
    "idle_limit",
    "new_row",
    "share",
    "up_to",
    "wait_for_announcement",
]

_log = logging.getLogger("duebus.outbox")

_T = TypeVar("_T")

SLOTS = 64
"""Each row belongs to one of so many slots, by its key. A relay claims slots, so that a key has one relay at a time."""

MYSQL = ("mysql", "mariadb")
"""What SQLAlchemy calls these databases; Django calls both the first."""

CHANNEL = "duebus_outbox"
"""The channel of PostgreSQL on which a transaction announces its rows when it is committed."""

MAX_ERROR = 2_000
"""The most characters of an error that a row keeps."""

MAX_IDLE_S = 30
"""How long the database keeps the locks of a relay that does nothing."""

_CLAIMED_SLOTS = 16
"""The most slots that a relay claims at once. The others are left to further relays."""

_STOP_S = 0.5
"""How soon a relay that waits for an announcement sees that it is stopped."""

_CLAIM_ROWS = 500
_CLAIM_BYTES = 8 << 20
"""What a claim reads at most, but for the last row."""

_BATCH_BYTES = 2 << 20
"""The most that one dispatch holds. A server takes 1,000 events and 4 MiB; an event has at most 1 MiB."""

_TIMEOUT_S = 5.0

# What the server would refuse later, when the transaction is committed.
TOPIC = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,254}")
_MAX_DATA_BYTES = 1 << 20
_MAX_ATTRIBUTES_BYTES = 64 << 10
_MAX_TEXT_BYTES = 255
_MAX_PRIORITY = 86_400
_MAX_DELAY = timedelta(days=3_650)


class Row(NamedTuple):
    """A row of the outbox.

    Attributes:
        id: Its number. Rows of one key are sent in this order.
        slot: That of its key, or of its id.
        event: A serialized `duebus.v1.Event` with an id, and with a moment instead of a delay.
    """

    id: int
    slot: int
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
    if not isinstance(topic, str) or not TOPIC.fullmatch(topic):
        raise InvalidArgument.of_field("topic", f"must match {TOPIC.pattern}")
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
    now = datetime.now(UTC)
    _check(event, now)
    if event.HasField("delay"):
        event.deliver_at.FromDatetime(now + event.delay.ToTimedelta())
    return {
        "event_id": event.id,
        "topic": topic,
        "slot": zlib.crc32((event.key or event.id).encode()) % SLOTS,
        "event": event.SerializeToString(),
        "created_at": now,
    }


def _check(event: event_bus_pb2.Event, now: datetime) -> None:
    """Refuse what the server would refuse.

    Raises:
        InvalidArgument: a field is malformed or out of its range.
    """
    _at_most("data", len(event.data), _MAX_DATA_BYTES)
    _at_most("attributes", sum(len((k + v).encode()) for k, v in event.attributes.items()), _MAX_ATTRIBUTES_BYTES)
    if "" in event.attributes:
        raise InvalidArgument.of_field("attributes", "has an empty name")
    for field in ("id", "key", "content_type"):
        text = getattr(event, field)
        _at_most(field, len(text.encode()), _MAX_TEXT_BYTES)
        if not text.isprintable():
            raise InvalidArgument.of_field(field, "has control characters")
    if abs(event.priority) > _MAX_PRIORITY:
        raise InvalidArgument.of_field("priority", f"must be from -{_MAX_PRIORITY} to {_MAX_PRIORITY}")
    if event.HasField("delay") and not 0 <= event.delay.seconds <= _MAX_DELAY.total_seconds():
        raise InvalidArgument.of_field("delay", "must be from 0 to 10 years")
    if event.HasField("deliver_at") and event.deliver_at.seconds > (now + _MAX_DELAY).timestamp():
        raise InvalidArgument.of_field("at", "must be at most 10 years ahead")


def _at_most(field: str, size: int, limit: int) -> None:
    if size > limit:
        raise InvalidArgument.of_field(field, f"has {size} bytes, at most {limit} are allowed")


def _event_of(row: Row) -> NewEvent:
    """The event of a row.

    Raises:
        InvalidArgument: the row does not hold one.
    """
    try:
        event = event_bus_pb2.Event.FromString(row.event)
        at = event.deliver_at.ToDatetime(UTC) if event.HasField("deliver_at") else None
    except (DecodeError, ValueError, OverflowError) as error:
        raise InvalidArgument.of_field("event", f"can't be read: {error}") from error
    return NewEvent(
        data=event.data,
        id=event.id,
        at=at,
        attributes=dict(event.attributes),
        content_type=event.content_type,
        max_retries=event.max_retries if event.HasField("max_retries") else None,
        key=event.key,
        priority=event.priority,
    )


def _of_other_keys(rows: Iterable[Row], full: Row) -> list[Row]:
    """Leave out the rows with the key of this one."""
    key = _event_of(full).key
    return [row for row in rows if row.slot != full.slot or _key_of(row) != key]


def _key_of(row: Row) -> str | None:
    """The key of a row; None if it holds no event, of which `_event_of` tells."""
    with suppress(InvalidArgument):
        return _event_of(row).key
    return None


def first_free(slots: Sequence[int], lock: Callable[[Sequence[int]], Sequence[int]]) -> Sequence[int]:
    """Lock the first slots that are free, and return them.

    Args:
        slots: In order.
        lock: Locks those of some slots that are free, and returns them.
    """
    for start in range(0, len(slots), _CLAIMED_SLOTS):
        if locked := lock(slots[start : start + _CLAIMED_SLOTS]):
            return locked
    return ()


def share(limit: int, slots: Sequence[int]) -> int:
    """How many rows to read of each slot, for about `limit` of them all."""
    return math.ceil(limit / len(slots))


def up_to(size: int, rows: Iterable[Sequence[int]]) -> list[int]:
    """The ids of the first rows, up to the one with which their events have so many bytes.

    Args:
        size: In bytes.
        rows: The id of each row, and how many bytes its event has.
    """
    ids: list[int] = []
    for row_id, length in rows:
        ids.append(row_id)
        size -= length
        if size <= 0:
            break
    return ids


@contextmanager
def idle_limit(database: str, execute: Callable[[str], object]) -> Iterator[None]:
    """Let the database end the transaction of a relay that is frozen, or whose host has vanished.

    PostgreSQL has a limit for a transaction. MySQL and MariaDB have one for a connection, which gets its own back.

    Args:
        database: `postgresql`, `mysql` or `mariadb`. Others have no locks that others wait for.
        execute: Executes a statement in the transaction.
    """
    if database == "postgresql":
        execute(f"SET LOCAL idle_in_transaction_session_timeout = '{MAX_IDLE_S}s'")
    if database not in MYSQL:
        yield
        return
    execute(f"SET @wait_timeout = @@SESSION.wait_timeout, SESSION wait_timeout = {MAX_IDLE_S}")
    try:
        yield
    finally:
        with suppress(Exception):  # the connection is broken, and its limit with it
            execute("SET SESSION wait_timeout = @wait_timeout")


def wait_for_announcement(connection: Any, timeout_s: float, stopped: threading.Event) -> None:
    """Wait as `Store.wait`, on a connection of PostgreSQL's driver that listens on the channel."""
    notifies = getattr(connection, "notifies", None)
    if not callable(notifies) or not inspect.signature(notifies).parameters:  # before psycopg 3.2, which has a timeout
        stopped.wait(timeout_s)
        return
    until = time.monotonic() + timeout_s
    while not stopped.is_set() and (left := until - time.monotonic()) > 0:
        if any(True for _ in notifies(timeout=min(left, _STOP_S), stop_after=1)):
            return


class Claim(Protocol):
    """Rows of one topic that no other relay sends meanwhile.

    Attributes:
        topic: Their topic; None if there is no further one.
        rows: In the order of their ids. There may be none: other relays have claimed them, or they have errors.
    """

    topic: str | None
    rows: Sequence[Row]

    def remove(self, ids: Sequence[int]) -> None:
        """Remove rows whose events are dispatched."""

    def set_error(self, row_id: int, reason: str) -> None:
        """Keep a row that can't be sent, and don't claim it again while it has an error."""


class Store(Protocol):
    """The table of rows."""

    def prepare(self) -> None:
        """Make the slots, unless they exist."""

    def claim(
        self,
        after: str,
        limit: int,
        size: int,
        except_topics: Sequence[str],
        except_slots: Sequence[tuple[str, int]],
    ) -> AbstractContextManager[Claim]:
        """Claim slots of the next topic that has rows, those with the oldest rows first.

        What was changed is committed when the block ends. The time that it takes does not depend on how many rows
        there are of this and of other topics, unless they have errors.

        Args:
            after: The topic before, in the order in which the database compares text; the empty string: the first.
            limit: About the most rows.
            size: No more rows once their events have so many bytes.
            except_topics: Whose rows are left out.
            except_slots: Likewise, each with its topic.
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

    Any number of relays may run. Rows of one key are sent in order, by one relay at a time. If a topic or a key is
    full, or the server can't be reached, its rows wait, and the others are sent. A row that the server refuses as
    malformed keeps the reason in its column `error` and is not sent again until that is NULL.

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
        self._topics: _Postponed[str] = _Postponed()
        self._slots: _Postponed[tuple[str, int]] = _Postponed()

    def run(self) -> None:
        """Send rows until `stop` is called. While the database can't be reached, it tries again, forever."""
        backoff = Backoff()
        outage = Outage("the outbox can be read again", log=_log)
        try:
            while not self._stopped.is_set():
                try:
                    if not self.send():
                        self._store.wait(
                            min(self._poll_s, self._topics.pause_s(), self._slots.pause_s()), self._stopped
                        )
                    backoff.reset()
                    outage.ended()
                except Exception as error:  # noqa: BLE001 - each database library has its own
                    reason = getattr(error, "orig", None) or error  # SQLAlchemy adds the statement, in lines of its own
                    outage.failed("the outbox can't be read: %s", " ".join(str(reason).split()))
                    self._prepared = False  # another server may have taken over, which lacks the last commits
                    self._stopped.wait(backoff.next())
        finally:
            self._store.close()

    def stop(self) -> None:
        """Make `run` return, after the dispatch under way: at the latest after its timeout of 5 s."""
        self._stopped.set()

    @contextmanager
    def running(self) -> Iterator["Relay"]:
        """Run in a thread for as long as the block lasts."""
        self._stopped.clear()
        thread = threading.Thread(target=self.run, name="duebus-outbox", daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self.stop()
            # A database that does not answer must not hold up the end. What was sent is known by its id.
            thread.join(2 * _TIMEOUT_S)

    def send(self) -> int:
        """Send one batch of rows of each topic. Returns how many were claimed; some of them may have to wait."""
        if not self._prepared:
            self._store.prepare()
            self._prepared = True
        topic, count = "", 0
        while not self._stopped.is_set():
            postponed = self._topics.waiting(), self._slots.waiting()
            with self._store.claim(topic, _CLAIM_ROWS, _CLAIM_BYTES, *postponed) as claim:
                if claim.topic is None:
                    break
                topic = claim.topic
                count += len(claim.rows)
                self._send_topic(claim, topic)
        return count

    def _send_topic(self, claim: Claim, topic: str) -> None:
        """Send what is claimed, in order, as far as it is accepted."""
        left = deque(_batches(claim.rows))
        full = set[int]()
        while left and not self._stopped.is_set():
            batch = left.popleft()
            try:
                self._client.dispatch_many(topic, [_event_of(row) for row in batch], timeout=_TIMEOUT_S)
            except (InvalidArgument, MaxQueuedEventsReached) as error:
                if len(batch) > 1:  # some of them may be accepted
                    half = len(batch) // 2
                    left.extendleft((batch[half:], batch[:half]))
                elif isinstance(error, InvalidArgument):
                    _log.error("row %d of the outbox can't be sent to %s: %s", batch[0].id, topic, error)
                    claim.set_error(batch[0].id, str(error))
                elif "key" in error.metadata:
                    full.add(batch[0].slot)
                    self._slots.add((topic, batch[0].slot), f"a key of {topic}", error)
                    left = deque(_batches(_of_other_keys(chain.from_iterable(left), batch[0])))
                else:
                    self._topics.add(topic, topic, error)
                    return
            except DueBusError as error:
                self._topics.add(topic, topic, error)
                return
            else:
                claim.remove([row.id for row in batch])
                self._topics.accepted(topic)
                self._slots.accepted(*((topic, slot) for slot in {row.slot for row in batch} - full))
        if claim.rows and not left:
            self._topics.forget(topic)
            self._slots.forget(*((topic, slot) for slot in {row.slot for row in claim.rows} - full))


class _Pause:
    """Why and until when something is left alone.

    Attributes:
        until: By the monotonic clock, in seconds.
    """

    def __init__(self, described: str) -> None:
        self.backoff = Backoff()
        self.outage = Outage(f"rows of the outbox for {described} are accepted again", log=_log)
        self.until = 0.0


class _Postponed(Generic[_T]):
    """What is left alone for a while."""

    def __init__(self) -> None:
        self._pauses: dict[_T, _Pause] = {}

    def add(self, name: _T, described: str, error: DueBusError) -> None:
        """Leave it alone: each time for longer, and at least for what the server asks."""
        pause = self._pauses.setdefault(name, _Pause(described))
        asked_s = error.retry_after.total_seconds() if error.retry_after is not None else 0.0
        pause.until = time.monotonic() + max(pause.backoff.next(), asked_s)
        pause.outage.failed("rows of the outbox for %s wait: %s", described, error)

    def accepted(self, *names: _T) -> None:
        """Some rows of these are accepted, so the next pause is short."""
        for name in names:
            if pause := self._pauses.get(name):
                pause.backoff.reset()

    def forget(self, *names: _T) -> None:
        """All rows of these are accepted."""
        for name in names:
            if pause := self._pauses.pop(name, None):
                pause.outage.ended()

    def waiting(self) -> list[_T]:
        """What is to be left alone now."""
        now = time.monotonic()
        return [name for name, pause in self._pauses.items() if pause.until > now]

    def pause_s(self) -> float:
        """When the first of them may be tried again, in seconds from now; infinite if there is none."""
        now = time.monotonic()
        return min((pause.until - now for pause in self._pauses.values() if pause.until > now), default=math.inf)


def _batches(rows: Sequence[Row]) -> Iterator[list[Row]]:
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
