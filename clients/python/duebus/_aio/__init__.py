"""The asyncio client's I/O. Private; import from `duebus.aio` instead."""
