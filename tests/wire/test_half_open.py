"""A connection that takes bytes and passes none on: its worker is taken for gone within 40 s."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import pytest
from support.proxy import Proxy
from support.wire import connect, figure, ids

if TYPE_CHECKING:
    from support.server_process import ServerProcess

NOTICED_S = 40.0


@pytest.mark.parametrize("idle_s", [0.0, 12.0], ids=["at once", "after a heartbeat"])
async def test_what_its_worker_held_is_delivered_to_another(server: ServerProcess, topic: str, idle_s: float) -> None:
    proxy = Proxy(server.address)
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
            async with asyncio.timeout(NOTICED_S + 2):  # the grace, and a sweep
                while not (came := other.come()):
                    await other.more()
            figure(f"noticed after {time.monotonic() - began:.1f} s")
            assert ids(came) == ["a"]
    finally:
        await proxy.close()
