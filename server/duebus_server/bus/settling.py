"""Settle and extend: sorts lease tokens by group, and calls the engine for each group."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

from duebus_server.bus.coalescing import PARTITIONS_AT_ONCE, Coalescer
from duebus_server.bus.engines import EngineStatus
from duebus_server.domain.model import LeaseFailureReason, NackAction, NackRef

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from duebus_server.bus.engines import Engines
    from duebus_server.domain.lease_token import GroupLeases, LeaseTokens
    from duebus_server.domain.model import EngineName, LeaseRef, Pause
    from duebus_server.engine.base import Engine

    Results = list[LeaseFailureReason | None]
    # Carries out a verb on one group: (engine, topic, group, indexes in the request, leases) -> results.
    Verb = Callable[[Engine, str, str, list[int], list[LeaseRef]], Awaitable[Results]]
    # Raises PermissionDenied when the caller may not settle on a topic.
    Permit = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class NackCommand:
    """One delivery to give back, named by its token, and how."""

    lease_token: str
    action: NackAction = NackAction.RETRY
    delay_us: int | None = None
    error: str = ""
    pause: Pause | None = None


@dataclass(frozen=True, slots=True)
class LeaseFailure:
    """A lease token for which nothing was done, and why."""

    lease_token: str
    reason: LeaseFailureReason


MAX_ACKS_AT_ONCE = 1_000
"""How many acks of several requests one engine call carries out, for each partition. Bounded, because other calls wait
meanwhile.
"""


class Settling:
    """Settles deliveries of any replica and engine.

    The tokens of a request are sorted by group, and each group is one engine call. Acks that arrive while others of the
    group are being carried out share the next call. An engine that drains still settles.

    Each method takes ``permit``, which is called with the topic of every token before anything is done. Its exceptions
    reach the caller. None permits everything.
    """

    def __init__(self, engines: Engines, tokens: LeaseTokens) -> None:
        self._engines = engines
        self._tokens = tokens
        self._acks = Coalescer(self._ack_together, len, self._max_acks)

    async def ack(self, lease_tokens: Sequence[str], permit: Permit | None = None) -> list[LeaseFailure]:
        """The events are done. Returns the tokens for which nothing was done, in request order."""

        async def carry_out(
            engine: Engine, topic: str, group: str, _indexes: list[int], leases: list[LeaseRef]
        ) -> Results:
            return await self._acks.submit((engine.name, topic, group), leases)

        return await self._by_group(lease_tokens, carry_out, permit)

    def _max_acks(self, target: tuple[EngineName, str, str]) -> int:
        name, topic, _ = target
        return MAX_ACKS_AT_ONCE * min(self._engines.get(name).engine.partitions(topic), PARTITIONS_AT_ONCE)

    async def _ack_together(self, target: tuple[EngineName, str, str], calls: list[list[LeaseRef]]) -> list[Results]:
        """Carry out the acks of several calls in one engine call. Returns the results of each."""
        name, topic, group = target
        leases = [lease for call in calls for lease in call]
        results = iter(await self._engines.get(name).streams.ack(topic, group, leases))
        return [list(islice(results, len(call))) for call in calls]

    async def nack(self, nacks: Sequence[NackCommand], permit: Permit | None = None) -> list[LeaseFailure]:
        """Give deliveries back. Returns the tokens for which nothing was done, in request order."""

        async def carry_out(
            engine: Engine, topic: str, group: str, indexes: list[int], leases: list[LeaseRef]
        ) -> Results:
            chosen = [nacks[index] for index in indexes]
            refs = [
                NackRef(lease, nack.action, nack.delay_us, nack.error, nack.pause)
                for lease, nack in zip(leases, chosen, strict=True)
            ]
            return await engine.nack(topic, group, refs)

        return await self._by_group([nack.lease_token for nack in nacks], carry_out, permit)

    async def extend(
        self, lease_tokens: Sequence[str], lease_us: int | None, permit: Permit | None = None
    ) -> list[LeaseFailure]:
        """Renew leases. Returns the tokens for which nothing was done, in request order."""

        async def carry_out(
            engine: Engine, topic: str, group: str, _indexes: list[int], leases: list[LeaseRef]
        ) -> Results:
            return await engine.extend(topic, group, leases, lease_us)

        return await self._by_group(lease_tokens, carry_out, permit)

    async def _by_group(self, lease_tokens: Sequence[str], verb: Verb, permit: Permit | None) -> list[LeaseFailure]:
        results: Results = [None] * len(lease_tokens)
        groups, malformed = self._tokens.read_all(lease_tokens)
        if malformed:  # the tokens of an engine that has not started can't be read yet
            self._engines.check_started()
        for index in malformed:
            results[index] = LeaseFailureReason.MALFORMED
        if permit is not None:
            for topic in {of_group.topic for of_group in groups}:
                permit(topic)
        for of_group in groups:
            outcome = await self._carry_out(of_group, verb)
            if any(outcome):
                for index, reason in zip(of_group.indexes, outcome, strict=True):
                    results[index] = reason
        if not any(results):
            return []
        return [
            LeaseFailure(token, reason)
            for token, reason in zip(lease_tokens, results, strict=True)
            if reason is not None
        ]

    async def _carry_out(self, of_group: GroupLeases, verb: Verb) -> Results:
        running = self._engines.find(of_group.engine)
        if running is None or running.status is EngineStatus.STOPPED:
            return [LeaseFailureReason.ENGINE_STOPPED] * len(of_group.leases)
        return await verb(running.engine, of_group.topic, of_group.group, of_group.indexes, of_group.leases)
