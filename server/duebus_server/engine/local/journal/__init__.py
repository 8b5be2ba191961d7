"""The journal of the local engine: append-only files in one directory, which make it durable.

The engine changes its memory in one step of the event loop, and the same step appends records of what it changed. A
caller or a worker learns of a change only once its records are saved. A restart reads the records once, in order, and
has the same topics, groups and events again.

**Records** (``records``) describe results, not calls: events that are new, leased, or removed from a group; the state
of events that have changed in another way; groups and topics with their settings. A record holds everything that a
verb has done to one group, or all events of one request, in columns (``columns``), with the bodies as they arrived.
``frames`` puts a header with a checksum before it. Records refer to an event by its ``seq``.

**Segments** (``segments``, ``directory``) are files of 64 MiB, numbered; the manifest names them, and is replaced by
a rename. Only the last one grows. The oldest is removed when nothing in it is needed, or when all together take up
more than twice what is needed plus half a segment (``compaction``). First, what a restart needs of it is copied to the
end of the journal: the events that are still held, with their whole state; groups and topics; ids and answers that
are remembered. So a later record may refer to an event whose first record is gone. A restart skips such a record: the
event was removed before its segment was, or a copy further on holds its state at that moment. Nothing else is
rewritten.

**Commits** (``commit``, ``appender``). While one thread writes and syncs, new records collect; the next write takes all
of them. A record is saved once it is on the disk (``always``), or once it is written (``everysec``, which syncs each
second in another thread). What waits for what:

==========================================  ==================================================================
dispatch, ack, nack, join, admin verbs      until their own records, and all before them, are saved
lease, and the hand-over of a dispatch      until the dispatch of each event is saved, and what else made events
                                            of the group leasable; not for the record of the lease
extend, adopt, shorten, leave, sweeps       for nothing
the removal of a segment                    until the copies are on the disk
a fencing token                             until a mark above it is on the disk; there nearly always is one
==========================================  ==================================================================

**Bodies** (``bodies``). The body of an event that is not due within two minutes leaves memory once its record is
written. A thread reads it again before the event is due, when a sweep finds that it soon will be. A lease whose bodies
are not in memory, such as after a jump of the host's clock, and a view wait for that thread. Compaction has the bodies
in the segment that it reads, and keeps them in memory until the copies are written. A body that can't be read, or whose
checksum differs, stops the engine like a failed write.

**Recovery** (``reading``, ``recovery``). A crash may tear the end of the last segment: what was not synced is cut
off, with a line in the log. Damage anywhere else, and in the last segment before bytes that were synced, stops the
start. Every lease then lasts for its session's grace, or 5 s if that is longer. The engine's clock continues where it
was: a mark records how far the host's clock is ahead of it.

**Faults.** The reserve is a file that takes up 16 MiB. When the disk is full, it is removed: dispatches are refused,
and acks and other verbs are written into its space until there is space for it again. If no space is left at all,
records wait in memory, and every verb is refused. A sync that failed is never repeated: the engine refuses
everything, and the process ends.

The journal holds neither sessions nor rates.
"""

from duebus_server.engine.local.journal.commit import Fsync
from duebus_server.engine.local.journal.journal import Journal

__all__ = ["Fsync", "Journal"]
