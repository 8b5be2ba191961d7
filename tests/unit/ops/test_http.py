"""The HTTP port, without a server behind it."""

from __future__ import annotations

import asyncio
import gzip
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING
from unittest.mock import Mock

import pytest
from duebus_server.ops.http import HttpPort, StrictHttp
from duebus_server.ops.metrics import Metrics, Scrape
from duebus_server.ops.probes import probes
from prometheus_client.openmetrics.parser import text_string_to_metric_families

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


async def well() -> None:
    """A check that finds no problem."""


async def ill() -> str:
    return "the reason"


async def scrape(_accept: str) -> Scrape:
    return Scrape(b"", "text/plain")


@asynccontextmanager
async def serving(port: HttpPort) -> AsyncIterator[int]:
    """Where it listens."""
    number = await port.start("127.0.0.1:0")
    try:
        yield number
    finally:
        await port.stop()


async def ask(port: int, path: str, *headers: str) -> tuple[str, bytes]:
    """The head and the body of an answer."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    lines = (f"GET {path} HTTP/1.1", "Host: bus", "Connection: close", *headers, "", "")
    writer.write("\r\n".join(lines).encode())
    head, _, body = (await reader.read()).partition(b"\r\n\r\n")
    writer.close()
    return head.decode().lower(), body


async def get(port: int, path: str) -> tuple[int, str]:
    """The status and the body."""
    head, body = await ask(port, path)
    return int(head.split()[1]), body.decode()


@pytest.mark.parametrize(
    ("port", "healthz", "readyz"),
    [
        (HttpPort(probes(well, well, scrape)), (200, "ok\n"), (200, "ok\n")),
        (HttpPort(probes(well, ill, scrape)), (200, "ok\n"), (503, "the reason\n")),
        (HttpPort(probes(ill, well, scrape)), (503, "the reason\n"), (200, "ok\n")),
    ],
)
async def test_probes_report_what_is_wrong(port: HttpPort, healthz: tuple[int, str], readyz: tuple[int, str]) -> None:
    async with serving(port) as number:
        assert await get(number, "/healthz") == healthz
        assert await get(number, "/readyz") == readyz


async def test_a_scrape_has_the_format_that_is_asked_for() -> None:
    metrics = Metrics(topics=1)
    metrics.rpc("/duebus.v1.EventBus/Ack", "OK", 0.002, trace_id="0af7651916cd43dd8448eb211c80319c")
    async with serving(HttpPort(probes(well, well, metrics.scrape))) as number:
        head, plain = await ask(number, "/metrics")
        assert "content-type: text/plain; version=0.0.4" in head
        assert b"trace_id" not in plain
        head, openmetrics = await ask(number, "/metrics", OPENMETRICS)
        assert "content-type: application/openmetrics-text; version=1.0.0" in head
        (durations,) = [
            family
            for family in text_string_to_metric_families(openmetrics.decode())  # type: ignore[no-untyped-call]
            if family.name == "duebus_rpc_duration_seconds"
        ]
        exemplars = {sample.labels["le"]: sample.exemplar for sample in durations.samples if sample.exemplar}
        assert exemplars.keys() == {"0.0025"}
        assert exemplars["0.0025"].labels == {"trace_id": "0af7651916cd43dd8448eb211c80319c"}
        assert exemplars["0.0025"].value == 0.002


async def test_a_scrape_is_compressed_if_that_is_asked_for() -> None:
    metrics = Metrics(topics=1)
    async with serving(HttpPort(probes(well, well, metrics.scrape))) as number:
        head, packed = await ask(number, "/metrics", "Accept-Encoding: gzip")
        assert "content-encoding: gzip" in head
        assert b"duebus_build_info" in gzip.decompress(packed)
        head, plain = await ask(number, "/metrics")
        assert "content-encoding" not in head
        assert len(packed) < len(plain) / 2


OPENMETRICS = "Accept: application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
"""As Prometheus asks."""

WHOLE = b"GET /healthz HTTP/1.1\r\nHost: bus\r\n\r\n"
WITH_BODY = b"GET /healthz HTTP/1.1\r\nHost: bus\r\nContent-Length: 9\r\n\r\n"


@pytest.mark.parametrize("sent", [b"", WHOLE[:-10], WHOLE + b"GET /", WITH_BODY, WITH_BODY + b"half"])
async def test_a_connection_without_a_whole_request_is_closed(monkeypatch: pytest.MonkeyPatch, sent: bytes) -> None:
    monkeypatch.setattr(StrictHttp, "REQUEST_S", 0.2)
    async with serving(HttpPort(probes(well, well, scrape))) as number:
        reader, writer = await asyncio.open_connection("127.0.0.1", number)
        writer.write(sent)
        async with asyncio.timeout(3):  # uvicorn closes idle connections after 5 s
            answered = await reader.read()
        writer.close()
    assert answered.count(b"200 OK") == sent.count(b"\r\n\r\n")


async def test_a_connection_with_timely_requests_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(StrictHttp, "REQUEST_S", 0.2)
    released = asyncio.Event()

    async def slow() -> None:
        await released.wait()

    async with serving(HttpPort(probes(slow, well, scrape))) as number:
        reader, writer = await asyncio.open_connection("127.0.0.1", number)
        writer.write(WHOLE)
        asyncio.get_running_loop().call_later(0.5, released.set)  # longer than a request may take
        async with asyncio.timeout(30):
            assert b"200 OK" in await reader.readuntil(b"ok\n")
        writer.close()


CHUNKED = b"%s /healthz HTTP/1.1\r\nHost: bus\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize("method", [b"GET", b"HEAD"])
@pytest.mark.parametrize("answered_first", [False, True])
async def test_a_body_that_is_malformed_ends_its_connection_alone(method: bytes, answered_first: bool) -> None:
    """uvicorn's own error answer fails if an answer has begun, or may have no body."""
    unexpected = Mock()
    asyncio.get_running_loop().set_exception_handler(unexpected)
    async with serving(HttpPort(probes(well, well, scrape))) as number:
        reader, writer = await asyncio.open_connection("127.0.0.1", number)
        writer.write(CHUNKED % method)
        if answered_first:
            assert b"200 OK" in await reader.readuntil(b"\r\n\r\n")
        writer.write(b"-1\r\n")
        async with asyncio.timeout(30):
            rest = await reader.read()
        writer.close()
        assert rest.startswith(b"HTTP/1.1 400") != answered_first
        assert await get(number, "/healthz") == (200, "ok\n")
    unexpected.assert_not_called()
