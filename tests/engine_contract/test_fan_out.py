"""The example of docs/fan-out.md: two groups of a topic, one with many retries and paused for an hour."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from duebus_server.domain.clock import HOUR, MINUTE, SECOND
from duebus_server.domain.states import EventState
from support.topics import ids

if TYPE_CHECKING:
    from support.engines import Harness
    from support.topics import TopicDriver


@pytest.mark.within_a_partition("§3.4: order holds within each partition")
async def test_two_groups_with_their_own_policies_one_paused_for_an_hour(harness: Harness, topic: TopicDriver) -> None:
    await topic.join("mailer-1", "mailer")
    await topic.join("ledger-1", "ledger")
    await topic.configure_group("mailer", max_retries=1, backoff_initial_us=SECOND, backoff_max_us=SECOND)
    await topic.configure_group("ledger", max_retries=10, backoff_initial_us=MINUTE, backoff_max_us=30 * MINUTE)

    # The ledger's database is down for maintenance. The mailer keeps working.
    await topic.pause("ledger")
    for nth in range(12):
        await topic.dispatch(f"order {nth}")
        await topic.ack(await topic.lease_one("mailer-1", "mailer"), group="mailer")
        assert (await topic.lease_batch("ledger-1", "ledger")).events == []
        await harness.advance(5 * MINUTE)
    assert await topic.counts("mailer") == {}
    ledger = await topic.group("ledger")
    assert (ledger.paused, ledger.counts[EventState.READY]) == (True, 12)
    assert [subscriber.session_id for subscriber in ledger.subscribers] == ["ledger-1"]
    assert ledger.oldest_ready_age_us is not None
    assert ledger.oldest_ready_age_us >= HOUR

    # It is back, and the backlog is handled in order.
    await topic.resume("ledger")
    leases = await topic.lease_all("ledger-1", "ledger")
    assert ids(leases) == [f"order {nth}" for nth in range(12)]
    await topic.ack(*leases, group="ledger")
    assert await topic.queued() == 0

    # An order that fails everywhere: the mailer gives up after one retry, the ledger does not.
    await topic.dispatch("bad order")
    for _ in range(2):
        await topic.nack(await topic.lease_one("mailer-1", "mailer"), error="no address", group="mailer")
        await topic.nack(await topic.lease_one("ledger-1", "ledger"), error="no account", group="ledger")
        await harness.advance(3 * MINUTE)
    assert await topic.state("bad order", "mailer") is EventState.DEAD
    assert await topic.state("bad order", "ledger") is EventState.READY

    # The address is known now.
    assert (await topic.redrive(group="mailer")).moved == 1
    await topic.ack(await topic.lease_one("mailer-1", "mailer"), group="mailer")
    assert await topic.state("bad order", "mailer") is None
