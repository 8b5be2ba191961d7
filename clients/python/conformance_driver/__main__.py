"""Reads commands until the end of the input."""

import asyncio
import logging

from conformance_driver.driver import Driver
from conformance_driver.lines import Lines


async def main() -> None:
    """Carries the commands out, all at the same time."""
    lines = Lines()
    await lines.open()
    driver = Driver(lines)
    under_way: set[asyncio.Task[None]] = set()
    while (command := await lines.next_command()) is not None:
        task = asyncio.create_task(driver.carry_out(command))
        under_way.add(task)
        task.add_done_callback(under_way.discard)
    await driver.close()


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(levelname)s %(message)s")
    asyncio.run(main())
