"""Pull: hands a batch of due events to a caller that has no stream."""

from __future__ import annotations

from contextlib import aclosing
from dataclasses import dataclass
from typing import TYPE_CHECKING
from uuid import uuid4

import structlog

from duebus_server.delivery.frames import Deliveries
from duebus_server.delivery.options import SessionOptions
from duebus_server.delivery.window import MAX_FRAME_BYTES, Window
from duebus_server.domain.errors import DispatcherNotWorking
from duebus_server.domain.model import DEFAULT_GROUP, LeaseRef, NackAction, NackRef

if TYPE_CHECKING:
    from collections.abc import Sequence

    from duebus_server.bus.engines import Engines, RunningEngine
    from duebus_server.delivery.session import Session
    from duebus_server.domain.lease_token import GroupTokens, LeaseTokens
    from duebus_server.domain.model import EngineName, LeasedEvent

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class PullCommand:
    """A checked request to pull.

    Attributes:
        group: empty for the default group.
        max_events: how many events at most.
        wait_us: how long to wait for the first of them.
        lease_us: how long they are leased; None for the topic's lease.
    """

    topic: str
    group: str
    engine: EngineName | None
    consumer: str
    max_events: int
    wait_us: int
    lease_us: int | None


class Pulled:
    """The events of a pull, leased to its caller. ``release`` gives back what the caller did not get.

    Attributes:
        tokens: makes their lease tokens.
    """

    def __init__(self, running: RunningEngine, tokens: GroupTokens, events: Sequence[LeasedEvent]) -> None:
        self.tokens = tokens
        self.events = events
        self._running = running

    async def release(self) -> None:
        """Release the events; the attempts do not count. If the engine can't be reached, their leases run out."""
        nacks = [NackRef(LeaseRef(each.event_id, each.fencing_token), NackAction.RELEASE) for each in self.events]
        if not nacks:
            return
        try:
            await self._running.engine.nack(self.tokens.topic, self.tokens.group, nacks)
        except DispatcherNotWorking as error:
            log.warning("pulled events not released", topic=self.tokens.topic, count=len(nacks), error=str(error))


class Pulling:
    """Leases events to callers without a stream.

    A session waits and leases for the time of the call. The leases outlast it: they belong to no stream and to no
    replica, and last as long as the lease says.
    """

    def __init__(self, engines: Engines, tokens: LeaseTokens) -> None:
        self._engines = engines
        self._tokens = tokens

    async def pull(self, command: PullCommand) -> Pulled:
        """Lease what is due; if nothing is, wait. The group is created if it does not exist.

        If it is cancelled, nothing stays leased.

        Raises:
            NoDispatcherSpecified: this server does not run the engine.
            DispatcherNotWorking: it is draining or stopped.
            InvalidArgument: the group is an ephemeral one.
        """
        running = self._engines.serving(command.engine)
        lease_us = command.lease_us
        if lease_us is None:
            lease_us = (await running.engine.config_of(command.topic)).lease_us
        options = SessionOptions(
            session_id=uuid4().hex,
            topic=command.topic,
            group=command.group or DEFAULT_GROUP,
            consumer=command.consumer,
            lease_us=lease_us,
            grace_us=0,
            is_pull=True,
        )
        session = running.streams.open(options, Window(command.max_events, MAX_FRAME_BYTES))
        pulled = Pulled(running, self._tokens.of_group(running.engine.name, options.topic, options.group), ())
        try:
            try:
                pulled.events = await _first_events(session, command.wait_us)
                session.keeps_leases = bool(pulled.events)
            finally:
                await running.streams.close(session)
        except BaseException:
            await pulled.release()
            raise
        return pulled


async def _first_events(session: Session, wait_us: int) -> Sequence[LeasedEvent]:
    """The first events that the session gets; none if the wait ends first, or the server closes the session."""
    await session.join([])
    session.close_after(wait_us)  # the first lease begins before that can have an effect
    async with aclosing(session.frames()) as frames:
        async for frame in frames:
            if isinstance(frame, Deliveries):
                return frame.events
    return ()
