"""What the sync and the asyncio client share: everything that does no I/O. Private; import from `duebus` instead."""
