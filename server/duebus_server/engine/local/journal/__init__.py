"""The journal of the local engine: append-only files in one directory, which make it durable.

What the engine does is done in memory, in one step of the event loop; the same step appends records that say what the
step has changed. Nothing is told to a caller or a worker before the records are saved that it follows from. A restart
reads the records once, in order, and has the same topics, groups and events again.

**Records** (``records``) say what has become of things, not what was called: events that are new, leased, or removed
from a group; the state of events that have changed in another way; groups and topics with their settings. A record
holds all that a verb has done to one group, or all events of one request, in columns (``columns``), with the bodies
as they came. ``frames`` puts a header with a checksum before it. What concerns an event names it by its ``seq``.

**Segments** (``segments``, ``directory``) are files of 64 MiB, numbered; the manifest names them, and is replaced by
a rename. Only the last one grows. The oldest goes when nothing in it is needed, or when all together hold more than
twice what is needed and half a segment (``compaction``). Before it goes, what a restart needs of it is copied to the
end of the journal: the events that are still held, with their whole state; groups and topics; ids and answers that
are remembered. So a later record may concern an event whose first record is gone. Then a restart passes over it: the
event was removed before its segment went, or there is a copy further on, which holds the state of that moment.
Nothing else is rewritten.

**Commits** (``commit``, ``appender``). One thread writes what was appended while it wrote before, and syncs once for
all of it. A record is saved once it is on the disk (``always``), or once it is written (``everysec``, which syncs
each second in another thread). Who waits for what:

==========================================  ==================================================================
dispatch, ack, nack, join, admin verbs      until their own records, and all before them, are saved
lease, and the hand-over of a dispatch      until the dispatch of each event is saved, and what else made events
                                            of the group leasable; not for the record of the lease
extend, adopt, shorten, leave, sweeps       for nothing
a segment that goes                         until the copies are on the disk
a fencing token                             until a mark above it is on the disk; there nearly always is one
==========================================  ==================================================================

**Recovery** (``reading``, ``recovery``). The end of the last segment may be torn by a crash: what was not synced is
cut, with a line in the log. Damage anywhere else, and in the last segment before bytes that were synced, stops the
start. Every lease lasts from then on for its session's grace, or 5 s if that is longer. The engine's clock goes on
where it was: a mark records how far the host's clock is ahead of it.

**Faults.** The reserve is a file that takes up 16 MiB. When the disk is full it is removed, dispatches are refused,
and acks and the like are written into its space, until there is space for it again. Without any space left, what is
recorded waits in memory, and every verb is refused. A sync that failed is never repeated: the engine refuses
everything, and the process ends.

What the journal does not hold: which sessions there are, and the rates.
"""

from duebus_server.engine.local.journal.commit import Fsync
from duebus_server.engine.local.journal.journal import Journal

__all__ = ["Fsync", "Journal"]
