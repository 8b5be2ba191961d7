"""Spans of handlers; what they link to is tested on a real server."""

from __future__ import annotations

from typing import TYPE_CHECKING

from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from support.fake_bus import FakeBus, delivery
from support.workers import serving, worker_on

if TYPE_CHECKING:
    import pytest
    from duebus._core.delivery import Delivery


async def test_tracing_set_up_while_the_worker_runs_applies_to_the_next_events(
    bus: FakeBus, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = worker_on(bus)
    spans: list[trace.SpanContext] = []

    @worker.on("orders")
    async def bill(_: Delivery) -> None:
        spans.append(trace.get_current_span().get_span_context())

    async with serving(worker):
        stream = await bus.stream()
        stream.deliver(delivery())
        await bus.acks.next()
        provider = TracerProvider()
        monkeypatch.setattr(trace, "get_tracer_provider", lambda: provider)
        monkeypatch.setattr(trace, "get_tracer", provider.get_tracer)
        stream.deliver(delivery(), delivery())
        await bus.acks.next()
    assert [each.is_valid for each in spans] == [False, True, True]
    assert spans[1].trace_id != spans[2].trace_id
