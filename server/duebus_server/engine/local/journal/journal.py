"""The journal of one engine: records its steps, and says when they are saved."""

from __future__ import annotations

import gc
from contextlib import suppress
from typing import TYPE_CHECKING

import structlog

from duebus_server.domain.clock import MILLISECOND, SECOND
from duebus_server.domain.engine_info import JournalInfo
from duebus_server.domain.errors import DispatcherNotWorking, NotFound, UnusableStorage
from duebus_server.engine.base import untimed
from duebus_server.engine.local.journal.appender import Appender
from duebus_server.engine.local.journal.bodies import SOON_US, Bodies
from duebus_server.engine.local.journal.commit import GroupCommit, Space, disk_is_full
from duebus_server.engine.local.journal.compaction import Compaction
from duebus_server.engine.local.journal.directory import DataDirectory
from duebus_server.engine.local.journal.disk import Disk
from duebus_server.engine.local.journal.recording import TOKENS_AHEAD_US, Recording, Running
from duebus_server.engine.local.journal.records import Mark
from duebus_server.engine.local.journal.recovery import Recovery
from duebus_server.engine.local.journal.segments import SEGMENT_BYTES, Segments

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from duebus_server.domain.model import LeasedEvent
    from duebus_server.engine.base import StorageTimer
    from duebus_server.engine.local.group import Group
    from duebus_server.engine.local.host_time import HostTime
    from duebus_server.engine.local.journal.commit import Fsync
    from duebus_server.engine.local.journal.directory import Manifest
    from duebus_server.engine.local.journal.reading import BadPart
    from duebus_server.engine.local.records import StoredEvent
    from duebus_server.engine.local.topics import Topics

log = structlog.get_logger()


class Journal:
    """Records what the engine does, in the order in which it does it.

    A verb changes memory and records that in one step, and then waits with ``saved``. So nothing is reported to callers
    or workers before its cause is saved.

    Attributes:
        prefetch_us: how long before an event is due ``prefetch`` reads its body.
        secret: the key that signs lease tokens; set by ``recover``.
        timed: called after each write and sync; set before ``start``.
        recording: what the engine, its topics and groups report their steps to.

    Args:
        path: the data directory.
        fsync: when a record is saved.
        on_failure: called once if the disk fails for good. The engine then refuses everything.
        disk: the operating system.
        segment_bytes: the size of a segment.
    """

    prefetch_us = SOON_US

    def __init__(
        self,
        path: Path,
        fsync: Fsync,
        on_failure: Callable[[DispatcherNotWorking], None] = lambda _: None,
        *,
        disk: Disk | None = None,
        segment_bytes: int = SEGMENT_BYTES,
    ) -> None:
        self.secret = b""
        self.timed: StorageTimer = untimed
        self._fsync = fsync
        self._on_failure = on_failure
        self._disk = disk or Disk()
        self._directory = DataDirectory(path, self._disk)
        self._segment_bytes = segment_bytes
        self._safe_token = 0  # the highest token of a mark that is on the disk
        self.recording = Recording(Segments([], segment_bytes))

    # --- start and stop -----------------------------------------------------------------------------------------------

    def recover(self, topics: Topics, host_us: int) -> Recovery:
        """Open the directory, and apply what it holds to ``topics``. ``start`` must follow, or ``close``.

        Args:
            topics: empty.
            host_us: the host's clock.

        Raises:
            DuplicateInitialized: a process uses the directory.
            UnusableStorage: it can't be used, is damaged, or has a newer layout.
        """
        self._directory.open()
        try:
            with self._directory.naming_errors():
                return self._recover(topics, host_us)
        except BaseException:
            self._directory.close()
            raise

    def _recover(self, topics: Topics, host_us: int) -> Recovery:
        manifest = self._directory.read_manifest()
        if not manifest:  # a new directory has a manifest before it has a segment
            self._directory.write_manifest({})
        self.secret = self._directory.secret()
        self._directory.remove_strays(manifest)
        recovery, known = Recovery(topics, host_us), []
        collecting = gc.isenabled()
        gc.disable()  # it would scan a million objects again and again, and free nothing
        try:
            for number, size in manifest.items():
                known.append(recovery.apply_segment(self._directory, number, size, self._cut))
        finally:
            if collecting:
                gc.enable()
        self.recording.continue_from(Segments(known, self._segment_bytes), Mark(recovery.token, recovery.ahead_us))
        return recovery

    def _cut(self, part: BadPart) -> None:
        """Cut off a torn end."""
        log.warning(
            "the end of the journal was incomplete, and was cut off",
            file=str(part.path),
            offset=part.offset,
            bytes=part.size,
        )
        self._disk.truncate(part.path, part.offset)

    async def start(self, topics: Topics, host: HostTime, now_us: Callable[[], int]) -> None:
        """Begin to record.

        Args:
            topics: what the engine holds.
            host: the host's clock.
            now_us: the engine's clock.

        Raises:
            UnusableStorage: the directory can't be written to.
        """
        recording = self.recording
        known: Manifest = {segment.number: segment.size for segment in recording.segments}
        appender = Appender(self._directory, self._disk, known)
        commit = GroupCommit(appender, self._fsync, self._on_failure, self.timed)
        bodies = Bodies(self._directory, self._disk, commit)
        compaction = Compaction(
            topics, recording.segments, self._directory, recording.append_copy, commit, bodies, now_us
        )
        recording.start(Running(commit, compaction, bodies))
        with self._directory.naming_errors():
            commit.reserve_space()
        recording.begin_segment()
        commit.start()
        recording.mark_tokens(host)
        try:
            await commit.wait_synced(recording.mark_end)
        except DispatcherNotWorking as error:
            raise UnusableStorage(f"data directory {self._directory.path}: {error}") from error

    def close(self) -> None:
        """Release the directory, if nothing was recorded since ``recover``."""
        self._directory.close()

    async def stop(self) -> None:
        """Write what was recorded, and release the directory. Harmless if it is not started."""
        if self.recording.is_running:
            running = self.recording.running()
            await running.compaction.stop()
            await running.bodies.stop()
            self.recording.append_open()
            await running.commit.stop()
            self.recording.stop()
        self._directory.close()

    def describe(self) -> JournalInfo:
        """Its files, how much of them is needed, and when it was last synced."""
        segments, commit = self.recording.segments, self.recording.running().commit
        oldest_us = 0  # a segment may be removed at any moment
        with suppress(OSError):
            oldest_us = self._directory.segment(segments.oldest.number).stat().st_mtime_ns // 1_000
        return JournalInfo(
            path=str(self._directory.path),
            fsync=str(self._fsync),
            segments=len(segments),
            size_bytes=segments.total(),
            live_bytes=segments.needed(),
            oldest_us=oldest_us,
            synced_us=None if commit.synced_s is None else round(commit.synced_s * SECOND),
            unsynced_bytes=commit.position - commit.synced,
            space=commit.space.name.lower(),
        )

    # --- saved --------------------------------------------------------------------------------------------------------

    def check(self, *, dispatches: bool = False) -> None:
        """Return if a verb can be recorded.

        Args:
            dispatches: the verb stores events, so it needs more than the reserve of a full disk.

        Raises:
            DispatcherNotWorking: it can't.
        """
        commit = self.recording.running().commit
        if commit.failure is not None:
            raise commit.failure
        if commit.space is Space.NONE or (dispatches and commit.space is Space.SCARCE):
            raise disk_is_full()

    async def saved(self) -> None:
        """Return when all that was recorded is saved.

        Raises:
            DispatcherNotWorking: it can't be, or not now.
        """
        self.recording.append_open()
        running = self.recording.running()
        await running.commit.wait_saved(running.commit.position)
        running.bodies.evict_written()

    async def causes_saved(self, batches: Sequence[tuple[Group, Sequence[LeasedEvent]]]) -> None:
        """Return when the events leased in these groups may be sent to sessions: what made them leasable is saved, and
        a restart will hand out higher fencing tokens. The leases themselves are not waited for.

        Raises:
            DispatcherNotWorking: it can't be saved, or not now.
        """
        self.recording.append_open()
        leased = [(group, events) for group, events in batches if events]
        if leased:
            # Looked up before the first wait: groups may be deleted meanwhile.
            ends = [max(group.cause_end, self.recording.dispatch_end(group, events)) for group, events in leased]
            on_disk = [pair for group, events in leased for pair in _on_disk(group, events)]
            await self.recording.running().commit.wait_saved(max(ends))
            await self._tokens_saved(max(events[-1].fencing_token for _, events in leased))
            await self._load(on_disk)

    async def read_bodies(self, events: Sequence[StoredEvent]) -> list[bytes | None]:
        """The bodies of events, which stay on the disk; None for an event that is gone meanwhile.

        Raises:
            DispatcherNotWorking: they can't be read.
        """
        return await self.recording.running().bodies.read(events)

    def prefetch(self, group: Group, now_us: int, ahead_us: int) -> None:
        """Begin to read the bodies of events of a group that are due soon."""
        self.recording.running().bodies.prefetch(group, now_us, ahead_us)

    async def _load(self, on_disk: Sequence[tuple[LeasedEvent, StoredEvent]]) -> None:
        """Give these leased events their bodies.

        Raises:
            DispatcherNotWorking: they can't be read.
            NotFound: one was deleted meanwhile.
        """
        if on_disk:
            await self.recording.running().bodies.load([event for _, event in on_disk])
        for leased, event in on_disk:
            if event.is_on_disk:
                raise NotFound("event", event.id)
            leased.body = event.body

    async def _tokens_saved(self, token: int) -> None:
        """Return when a mark of at least this fencing token is on the disk; nearly always at once."""
        recording, commit = self.recording, self.recording.running().commit
        if commit.synced >= recording.mark_end:
            self._safe_token = recording.mark.token
        if token + TOKENS_AHEAD_US // 2 > recording.mark.token:
            recording.append_mark(Mark(token + TOKENS_AHEAD_US, recording.mark.ahead_us))
        if token > self._safe_token:
            await commit.wait_synced(recording.mark_end)

    def sweep(self, host: HostTime) -> None:
        """Record how the clocks differ, if that has changed, and remove segments that are not needed."""
        self.recording.append_open()
        self.recording.running().bodies.evict_written()
        if abs(host.ahead_us - self.recording.mark.ahead_us) > MILLISECOND:
            self.recording.mark_tokens(host)
        self.recording.running().compaction.start_if_needed()


def _on_disk(group: Group, leased: Sequence[LeasedEvent]) -> list[tuple[LeasedEvent, StoredEvent]]:
    """The leased events whose bodies are on the disk, each as it is stored."""
    pairs = [(one, group.entries[one.event_id].event) for one in leased if not one.body]
    return [pair for pair in pairs if pair[1].is_on_disk]
