"""The safety net: ends expired leases at a fixed interval. Events become due without its help."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from duebus_server.domain.clock import sleep_until
from duebus_server.domain.errors import DueBusError
from duebus_server.domain.outage import Outage

if TYPE_CHECKING:
    from duebus_server.domain.clock import Clock
    from duebus_server.engine.base import Engine

log = structlog.get_logger()


async def reap(engine: Engine, clock: Clock, interval_us: int) -> None:
    """Have the engine expire leases every ``interval_us``, until cancelled."""
    outage = Outage()
    while True:
        await sleep_until(clock, clock.now_us() + interval_us)
        try:
            await engine.expire_leases()
        except DueBusError as error:
            if outage.begins():
                log.warning("sweeps fail", engine=engine.name, error=str(error))
        except Exception:  # one failure must not end the sweeps
            log.exception("unexpected error", engine=engine.name)
        else:
            if outage.ends():
                log.info("sweeps work again", engine=engine.name)
