"""Asks the HTTP port of a server, as probes and Prometheus do."""

from __future__ import annotations

import asyncio
import urllib.error
import urllib.request
from contextlib import suppress
from typing import TYPE_CHECKING

from prometheus_client.parser import text_string_to_metric_families

from support.wire import SIGNAL_TIMEOUT_S

if TYPE_CHECKING:
    from support.server_process import ServerProcess

HTTP = ("--http-listen", "127.0.0.1:0")

Samples = dict[tuple[str, ...], float]


def url_of(server: ServerProcess) -> str:
    """The address of its HTTP port."""
    return "http://" + server.logged(r"http on .*address=(\S+)")


def ask(url: str, method: str = "GET") -> tuple[int, str]:
    """The status and the body."""
    try:
        with urllib.request.urlopen(urllib.request.Request(url, method=method), timeout=SIGNAL_TIMEOUT_S) as answer:  # noqa: S310
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


async def get(server: ServerProcess, path: str) -> tuple[int, str]:
    return await asyncio.to_thread(ask, url_of(server) + path)


async def until_answered(server: ServerProcess, path: str, status: int, body: str) -> None:
    """Ask until this is the answer. A probe says no when a check takes longer than it waits.

    Raises:
        AssertionError: it never is.
    """
    found = (0, "")
    with suppress(TimeoutError):
        async with asyncio.timeout(SIGNAL_TIMEOUT_S):
            while found != (status, body):
                found = await get(server, path)
    assert found == (status, body)


async def scrape(server: ServerProcess) -> Samples:
    """Samples by name and label values, in the order of the label names."""
    status, body = await get(server, "/metrics")
    assert status == 200
    return {
        (sample.name, *(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(body)
        for sample in family.samples
    }
