"""The sync client's I/O. Private; import from `duebus` instead."""
