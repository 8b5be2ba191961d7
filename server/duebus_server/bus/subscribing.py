"""Subscribe: opens a session for a checked request."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING
from uuid import uuid4

import structlog

from duebus_server.delivery.options import SessionOptions
from duebus_server.delivery.window import Window
from duebus_server.domain.group_names import new_ephemeral_group
from duebus_server.domain.model import DEFAULT_GROUP

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from duebus_server.bus.engines import Engines, RunningEngine
    from duebus_server.delivery.session import Session
    from duebus_server.domain.lease_token import GroupTokens, LeaseTokens
    from duebus_server.domain.model import EngineName, LeaseRef

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class SubscribeCommand:
    """A checked request to subscribe. A setting that is None follows the topic or the server.

    Attributes:
        group: empty for the default group, or for an ephemeral one that the server names.
        held_lease_tokens: leases of an earlier, broken stream that the worker still holds.
        ephemeral: whether the group is deleted when its last stream has ended.
    """

    topic: str
    group: str
    engine: EngineName | None
    consumer: str
    max_in_flight: int
    max_in_flight_bytes: int
    lease_us: int | None
    grace_us: int | None
    held_lease_tokens: Sequence[str]
    ephemeral: bool = False


@dataclass(frozen=True, slots=True)
class Subscription:
    """An open session, the maker of its lease tokens, and the tokens of lost leases.

    Attributes:
        limited: every delivery counts for a limit of the group.
    """

    session: Session
    tokens: GroupTokens
    lost_lease_tokens: Sequence[str]
    limited: bool


class Subscribing:
    """Opens sessions."""

    def __init__(self, engines: Engines, tokens: LeaseTokens, default_grace_us: int) -> None:
        self._engines = engines
        self._tokens = tokens
        self._default_grace_us = default_grace_us

    @asynccontextmanager
    async def subscribe(self, command: SubscribeCommand) -> AsyncIterator[Subscription]:
        """A session that lasts as long as the context. Then its leases run out soon, unless a drain waits for them.

        Raises:
            NoDispatcherSpecified: this server does not run the engine.
            DispatcherNotWorking: it is draining or stopped.
            InvalidArgument: the group is lasting and an ephemeral one was requested, or vice versa.
        """
        running = self._engines.serving(command.engine)
        options = await self._options(command, running)
        session = running.streams.open(options, Window(command.max_in_flight, command.max_in_flight_bytes))
        facts = {"topic": options.topic, "group": options.group, "session_id": options.session_id}
        try:
            lost = await self._join(session, running, command)
            log.info("subscribed", consumer=options.consumer, **facts)
            tokens = self._tokens.of_group(running.engine.name, options.topic, options.group)
            yield Subscription(session, tokens, lost, session.limited)
        finally:
            await running.streams.close(session)
            log.info("unsubscribed", **facts)

    async def _options(self, command: SubscribeCommand, running: RunningEngine) -> SessionOptions:
        lease_us = command.lease_us
        if lease_us is None:
            lease_us = (await running.engine.config_of(command.topic)).lease_us
        return SessionOptions(
            session_id=uuid4().hex,
            topic=command.topic,
            group=command.group or (new_ephemeral_group() if command.ephemeral else DEFAULT_GROUP),
            consumer=command.consumer,
            lease_us=lease_us,
            grace_us=self._default_grace_us if command.grace_us is None else command.grace_us,
            ephemeral=command.ephemeral,
        )

    async def _join(self, session: Session, running: RunningEngine, command: SubscribeCommand) -> list[str]:
        """Join, and take over the leases of this group. Returns the tokens of leases that are lost."""
        named: dict[LeaseRef, str] = {}
        lost: list[str] = []
        source = (running.engine.name, session.options.topic, session.options.group)
        for token in command.held_lease_tokens:
            target = self._tokens.read(token)
            if target is not None and (target.engine, target.topic, target.group) == source:
                named[target.lease] = token
            else:
                lost.append(token)
        return lost + [named[lease] for lease in await session.join(list(named))]
