"""The HTTP port: probes, and metrics that match the calls."""

from __future__ import annotations

import asyncio
import urllib.error
import urllib.request
from typing import TYPE_CHECKING

import pytest
from support.http_port import HTTP, ask, get, scrape, until_answered, url_of
from support.promtool import promtool
from support.redis_server import RedisServer
from support.secured import client
from support.start import CANNOT_SERVE, try_to_start
from support.wire import SIGNAL_TIMEOUT_S, connect, duration

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from support.server_process import ServerProcess


async def test_it_is_alive_and_ready_and_knows_no_other_paths(start_server: Callable[..., ServerProcess]) -> None:
    server = start_server(*HTTP)
    assert await get(server, "/healthz") == (200, "ok\n")
    assert await get(server, "/readyz") == (200, "ok\n")
    assert (await get(server, "/"))[0] == 404
    assert await asyncio.to_thread(ask, url_of(server) + "/healthz", "HEAD") == (200, "")


async def test_other_methods_get_the_allowed_ones(start_server: Callable[..., ServerProcess]) -> None:
    server = start_server(*HTTP)
    for path in ("/healthz", "/metrics"):
        request = urllib.request.Request(url_of(server) + path, method="POST")  # noqa: S310
        with pytest.raises(urllib.error.HTTPError) as caught:
            await asyncio.to_thread(urllib.request.urlopen, request)
        with caught.value as answer:
            assert (answer.status, set(answer.headers["Allow"].split(", "))) == (405, {"GET", "HEAD"})


async def test_a_draining_server_is_not_ready_and_reports_why(start_server: Callable[..., ServerProcess]) -> None:
    server = start_server(*HTTP, "--drain-timeout", "60s")
    async with connect(server.address) as wire:
        stream = await wire.subscribe("orders")
        await wire.dispatch("orders", "a")
        held = await stream.one()
        stopping = asyncio.ensure_future(wire.stop())
        await stream.closing()
        assert await get(server, "/healthz") == (200, "ok\n")
        assert await get(server, "/readyz") == (503, "engine local is draining\n")
        await wire.ack(held)
        await stopping
    assert await asyncio.to_thread(server.wait) == 0


@pytest.fixture
def redis() -> Iterator[RedisServer]:
    server = RedisServer()
    yield server
    server.close()


async def test_a_server_without_redis_is_not_ready_and_the_metrics_show_it(
    start_server: Callable[..., ServerProcess], redis: RedisServer
) -> None:
    server = start_server(*HTTP, "--engine", "redis", "--redis-url", redis.url)
    await until_answered(server, "/readyz", 200, "ok\n")
    async with asyncio.timeout(SIGNAL_TIMEOUT_S):
        while (await scrape(server))["duebus_engine_up", "redis"] == 0:
            pass  # the same
    redis.kill()
    await until_answered(server, "/readyz", 503, "engine redis: Redis can't be reached\n")
    assert await get(server, "/healthz") == (200, "ok\n")
    async with asyncio.timeout(SIGNAL_TIMEOUT_S):
        while (samples := await scrape(server))["duebus_engine_up", "redis"] == 1:
            pass  # a result is kept for a second
    assert samples["duebus_redis_errors_total", "connection"] >= 1
    redis.restart()
    await until_answered(server, "/readyz", 200, "ok\n")


async def test_the_metrics_count_what_happened(start_server: Callable[..., ServerProcess]) -> None:
    server = start_server(*HTTP)
    async with connect(server.address) as wire:
        stream = await wire.subscribe("orders", group="billing")
        await wire.dispatch("orders", *(f"e{number}" for number in range(10)))
        await wire.dispatch("orders", "e0")
        deliveries = await stream.take(10)
        await wire.ack(*deliveries[:6])
        await wire.nack(deliveries[6], dead_letter=True)
        await wire.nack(deliveries[7], delay=duration(3600))
        await wire.dispatch("later", "x")
        async with asyncio.timeout(SIGNAL_TIMEOUT_S):
            while (found := await scrape(server))["duebus_rpcs_total", "OK", "duebus.v1.EventBus/Dispatch"] < 3:
                pass  # a call is counted after its answer
        billing = ("local", "billing", "orders")
        assert found["duebus_events_dispatched_total", "local", "orders"] == 10, "a duplicate adds nothing"
        assert found["duebus_events_delivered_total", *billing] == 10
        assert found["duebus_events_acked_total", *billing] == 6
        assert found["duebus_events_nacked_total", "dead_letter", *billing] == 1
        assert found["duebus_events_nacked_total", "retry", *billing] == 1
        assert found["duebus_events_dead_total", *billing] == 1
        assert found["duebus_subscribers", *billing] == 1
        assert found["duebus_in_flight", *billing] == 2
        states = {state: found["duebus_group_events", *billing[:2], state, "orders"] for state in STATES}
        assert states == {"scheduled": 1, "ready": 0, "leased": 2, "dead": 1}
        assert found["duebus_group_events", "local", "", "ready", "later"] == 1, "the event waits for the first group"
        assert found["duebus_delivery_lateness_seconds_count", "local"] == 10
        assert found["duebus_dispatch_to_delivery_seconds_count", "local"] == 10
        assert found["duebus_engine_batch_size_sum", "local", "dispatch"] == 12
        assert found["duebus_engine_call_duration_seconds_count", "local", "ack"] == 1
        assert found["duebus_rpcs_total", "OK", "duebus.v1.EventBus/Dispatch"] == 3


async def test_promtool_finds_nothing_wrong_with_a_scrape(start_server: Callable[..., ServerProcess]) -> None:
    server = start_server(*HTTP)
    async with connect(server.address) as wire:
        stream = await wire.subscribe("orders", group="billing")
        await wire.dispatch("orders", "a")
        await wire.ack(*await stream.take(1))
        status, text = await get(server, "/metrics")
    assert (status, promtool("check", "metrics", stdin=text)) == (200, (0, ""))


async def test_deaths_of_any_cause_are_counted_and_logged(
    start_server: Callable[..., ServerProcess],
) -> None:
    server = start_server(*HTTP, "--max-retries", "0")
    async with connect(server.address) as wire:
        stream = await wire.subscribe("orders", group="billing", disconnect_grace=0.05)
        await wire.dispatch("orders", "failed", "slow")
        failed, _slow = await stream.take(2)
        await wire.nack(failed)
        for _ in range(2):  # the first two leases that a broken stream ends use up no retry
            await stream.cancel()
            stream = await wire.subscribe("orders", group="billing", disconnect_grace=0.05)
            await stream.one()
        await stream.cancel()
        async with asyncio.timeout(SIGNAL_TIMEOUT_S):
            while (await scrape(server))["duebus_events_dead_total", "local", "billing", "orders"] < 2:
                pass  # until the lease has run out
    dead = [line for line in server.log.read_text().splitlines() if "events are dead" in line]
    assert len(dead) == 2
    for line, event_id in zip(dead, ("failed", "slow"), strict=True):
        for field in ("topic=orders", "group=billing", "count=1", f"event_ids=['{event_id}']"):
            assert field in line


STATES = ("scheduled", "ready", "leased", "dead")


async def test_the_metrics_explain_a_stuck_queue(start_server: Callable[..., ServerProcess]) -> None:
    """The example of docs/observability.md: events wait, and no worker handles them."""
    server = start_server(*HTTP)
    async with connect(server.address) as wire:
        await (await wire.subscribe("orders")).cancel()
        await wire.dispatch("orders", "a", "b")
        found = await scrape(server)
        group = ("local", "default", "orders")
        assert found["duebus_group_events", "local", "default", "ready", "orders"] == 2
        assert (found["duebus_subscribers", *group], found["duebus_in_flight", *group]) == (0, 0)
        assert found["duebus_oldest_ready_age_seconds", *group] > 0


async def test_topics_beyond_the_limit_share_their_labels(start_server: Callable[..., ServerProcess]) -> None:
    server = start_server(*HTTP, "--metrics-topics", "2")
    async with client(server.address) as bus:
        for number in range(5):
            await bus.dispatch(f"topic-{number}", 1)
    found = await scrape(server)
    counts = {key[2]: value for key, value in found.items() if key[0] == "duebus_events_dispatched_total"}
    assert counts == {"topic-0": 1, "topic-1": 1, "other": 3}
    ready = {key[4]: value for key, value in found.items() if key[0] == "duebus_group_events" and key[3] == "ready"}
    assert len(ready) == 3
    assert ready["other"] == 3


async def test_failed_calls_are_counted_by_status(start_server: Callable[..., ServerProcess]) -> None:
    server = start_server(*HTTP)
    async with connect(server.address) as wire:
        stream = await wire.subscribe("orders")
        with pytest.raises(Exception, match="a topic is required"):
            await wire.dispatch("", "a")
        await stream.cancel()
        async with asyncio.timeout(SIGNAL_TIMEOUT_S):
            while ("duebus_rpcs_total", "CANCELLED", "duebus.v1.EventBus/Subscribe") not in await scrape(server):
                pass  # the server notices it a little later
        found = await scrape(server)
        assert found["duebus_rpcs_total", "INVALID_ARGUMENT", "duebus.v1.EventBus/Dispatch"] == 1


def test_an_address_in_use_is_one_line(start_server: Callable[..., ServerProcess]) -> None:
    server = start_server(*HTTP)
    address = url_of(server).removeprefix("http://")
    status, out, err = try_to_start("--http-listen", address)
    assert (status, out, err.count("can't listen on")) == (CANNOT_SERVE, "", 1)
    assert err.splitlines()[-1] == f"duebus: can't listen on {address}: address already in use"
