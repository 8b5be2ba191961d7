"""Follows a topic across any number of streams, and settles what it has shown."""

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta

from duebus._core.delivery import Delivery
from duebus._core.enums import ClosingReason, Engine
from duebus._core.frames import Closing, Deliveries, Started
from duebus._core.model import Nack
from duebus.aio import Client, Subscription
from duebus.errors import DeadlineExceeded, DueBusError, Unavailable

_WINDOW = 64
# How many events a stream may hold; with `keep` nothing is settled before the end.
_WINDOW_KEEPING = 100_000
_BYTES_KEEPING = 256 * 1024 * 1024
_LEASE = timedelta(seconds=30)
# The stream notices and resumes a broken connection; what could not be settled meanwhile is settled then.
_SETTLE_TIMEOUT = timedelta(seconds=2)
_BACKOFF_INITIAL = 0.1
_BACKOFF_MAX = 2.0


class TopicGone(DueBusError):
    """The topic or the group was deleted while it was followed."""

    reason = "DELETED"


class Follower:
    """Shows the deliveries of a group, one after the other.

    An event is acked once it has been shown. It ends when `count` events have been shown or when it is cancelled, and
    settles what it holds before it returns.

    Args:
        client: An open client.
        topic: The topic.
        group: The group; empty: an ephemeral one of its own, which gets what is dispatched from now on.
        engine: None: the server's default engine.
        consumer: Its name in the admin views.
        show: Called with each delivery and when it arrived. If it raises, the run ends and the delivery is released.
        note: Called with a line when the connection is lost or established.
        keep: Keep the leases of shown events to the end, and release them then.
        count: How many to show; None: no limit.
    """

    def __init__(
        self,
        client: Client,
        topic: str,
        *,
        group: str,
        engine: Engine | None,
        consumer: str,
        show: Callable[[Delivery, datetime], None],
        note: Callable[[str], None],
        keep: bool,
        count: int | None,
    ) -> None:
        self._client = client
        self._topic = topic
        self._ephemeral = not group
        self._group = group
        self._engine = engine
        self._consumer = consumer
        self._show = show
        self._note = note
        self._keep = keep
        self._left = count
        self._window = _window(keep, count)
        # In the order in which they were shown.
        self._shown: dict[str, Delivery] = {}
        self._unseen: list[Delivery] = []
        self._subscribed_once = False
        self._backoff = _BACKOFF_INITIAL

    async def run(self) -> None:
        """Follows until the count is reached.

        Raises:
            DueBusError: the topic could not be followed at all, or no retry can cure the error.
        """
        extending = asyncio.create_task(self._extend())
        try:
            await self._follow()
        finally:
            extending.cancel()
            await self._settle_rest()

    async def _follow(self) -> None:
        while self._left != 0:
            try:
                async with self._subscription() as subscription:
                    await self._read(subscription)
                if self._left == 0:
                    return
                pause = self._pause_after_end(subscription.closing)
            except (Unavailable, DeadlineExceeded):
                if not self._subscribed_once:
                    raise
                pause = self._pause_after_break()
            if self._left != 0:
                await asyncio.sleep(pause * random.uniform(0.8, 1.2))  # noqa: S311 - spreads the reconnects

    def _pause_after_end(self, closing: Closing | None) -> float:
        if closing is not None and closing.reason in (ClosingReason.GROUP_DELETED, ClosingReason.TOPIC_DELETED):
            raise TopicGone(f"{closing.reason.replace('_', ' ')}: {self._topic}, group {self._group}")
        if closing is not None and closing.reason is ClosingReason.REBALANCE:
            return 0.0
        asked_for = closing.reconnect_after.total_seconds() if closing else 0.0
        return max(asked_for, self._pause_after_break())

    def _pause_after_break(self) -> float:
        if self._backoff == _BACKOFF_INITIAL:
            self._note("the connection is lost; trying until the server is back")
        pause = self._backoff
        self._backoff = min(2 * self._backoff, _BACKOFF_MAX)
        return pause

    @asynccontextmanager
    async def _subscription(self) -> AsyncIterator[Subscription]:
        subscription = self._client.subscribe(
            self._topic,
            group=self._group,
            engine=self._engine,
            consumer=self._consumer,
            max_in_flight=self._window,
            max_in_flight_bytes=_BYTES_KEEPING if self._keep else 0,
            lease=_LEASE,
            held_lease_tokens=list(self._shown),
            ephemeral=self._ephemeral,
        )
        async with subscription:
            yield subscription

    async def _read(self, subscription: Subscription) -> None:
        async for frame in subscription.frames():
            match frame:
                case Started():
                    self._subscribed_once, self._backoff = True, _BACKOFF_INITIAL
                    self._forget(frame.lost_lease_tokens)
                    self._group = frame.group or self._group
                    what = "events dispatched from now on" if self._ephemeral else f"group {self._group}"
                    self._note(f"subscribed to {self._topic}, {what}; Ctrl-C ends")
                case Deliveries():
                    self._take(frame.deliveries)
            if self._left == 0:
                return
            await self._ack_shown()

    def _take(self, deliveries: list[Delivery]) -> None:
        received_at = datetime.now(UTC)
        self._unseen = list(reversed(deliveries))
        while self._unseen and self._left != 0:
            self._show(self._unseen[-1], received_at)
            delivery = self._unseen.pop()
            self._shown[delivery.lease_token] = delivery
            if self._left is not None:
                self._left -= 1

    async def _ack_shown(self) -> None:
        """Acks, except in the last window of a count: the server would lease further events that nobody sees."""
        tokens = list(self._shown)
        if self._left is not None:
            tokens = tokens[: max(0, self._left + len(tokens) - self._window)]
        if tokens and not self._keep:
            with suppress(Unavailable, DeadlineExceeded):  # they stay held and are acked with the next ones
                await self._client.ack(tokens, timeout=_SETTLE_TIMEOUT)
                self._forget(tokens)

    def _forget(self, tokens: Iterable[str]) -> None:
        for token in tokens:
            self._shown.pop(token, None)

    async def _extend(self) -> None:
        while True:
            await asyncio.sleep(_LEASE.total_seconds() / 3)
            if self._shown:
                with suppress(DueBusError):  # retried next time; lost leases are delivered again
                    await self._client.extend(list(self._shown), _LEASE)

    async def _settle_rest(self) -> None:
        unwanted = [*self._unseen, *(self._shown.values() if self._keep else ())]
        with suppress(DueBusError):  # the leases run out instead
            if self._shown and not self._keep:
                await self._client.ack(list(self._shown), timeout=_SETTLE_TIMEOUT)
            if unwanted:
                await self._client.nack_many(
                    (Nack(delivery=each, release=True) for each in unwanted), timeout=_SETTLE_TIMEOUT
                )


def _window(keep: bool, count: int | None) -> int:
    """How many events may be leased at once.

    Acking lets the server lease further events, so the last window of a count is acked after the stream is closed. A
    tenth of the count keeps that window small.
    """
    if count is None:
        return _WINDOW_KEEPING if keep else _WINDOW
    return min(count, _WINDOW_KEEPING) if keep else max(1, min(_WINDOW, count // 10))
