"""What the sync and the asyncio client share: everything without I/O. Private; import from `duebus` instead."""
