"""A connection that accepts bytes and forwards none: its worker counts as gone within 40 s."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from support.builders import unique_name
from support.proxy import Proxy
from support.wire import connect, figure, ids

if TYPE_CHECKING:
    from support.server_process import ServerProcess

NOTICED_S = 40.0


async def test_events_of_its_worker_are_delivered_to_another(server: ServerProcess) -> None:
    """The connection stalls at once, or after heartbeats. Both cases run together, because they only wait."""
    await asyncio.gather(*(is_delivered_to_another(server, idle_s) for idle_s in (0.0, 12.0)))


async def is_delivered_to_another(server: ServerProcess, idle_s: float) -> None:
    """The connection stalls after this many seconds."""
    topic, proxy = unique_name(), Proxy(server.address)
    await proxy.start()
    try:
        async with connect(proxy.address) as lost, connect(server.address) as wire:
            holder = await lost.subscribe(topic, lease=600, disconnect_grace=1)
            await wire.dispatch(topic, "a")
            await holder.one()
            await asyncio.sleep(idle_s)  # heartbeats come every ten seconds
            proxy.stall()
            began = time.monotonic()
            other = await wire.subscribe(topic, lease=600)
            async with asyncio.timeout(NOTICED_S + 20):  # the grace, a sweep, and what a busy machine adds
                while not (came := other.come()):
                    await other.more()
            figure(f"idle for {idle_s:g} s, noticed after {time.monotonic() - began:.1f} s")
            assert ids(came) == ["a"]
    finally:
        await proxy.close()
