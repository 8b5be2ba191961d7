"""The service EventBusSchedules: each method decodes, calls a use case, encodes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from duebus.v1 import schedules_pb2

from duebus_server.bus.scheduling import nominal_times
from duebus_server.domain import limits
from duebus_server.domain.errors import InvalidArgument
from duebus_server.domain.schedules import fills_answer
from duebus_server.security.acl import Verb
from duebus_server.wire import schedule_codec as codec
from duebus_server.wire.authorization import may_see_data, permit
from duebus_server.wire.decode import engine_name
from duebus_server.wire.paging import page_size, page_token, read_page_token
from duebus_server.wire.times import seconds_and_nanos, timestamp_us

if TYPE_CHECKING:
    import grpc.aio

    from duebus_server.bus.scheduling import Scheduling
    from duebus_server.domain.model import EngineName
    from duebus_server.domain.schedules import ScheduleRecord

    Context = grpc.aio.ServicerContext[Any, Any]

DEFAULT_PREVIEW = 10
MAX_PREVIEW = 1_000


class EventBusSchedulesServicer:
    """duebus.v1.EventBusSchedules. ``schedules.proto`` documents guarantees and errors."""

    def __init__(self, scheduling: Scheduling, default_engine: EngineName) -> None:
        self._scheduling = scheduling
        self._default_engine = default_engine

    async def PutSchedule(  # noqa: N802  # the name on the wire
        self, request: schedules_pb2.PutScheduleRequest, _context: Context
    ) -> schedules_pb2.PutScheduleResponse:
        """Create or replace a schedule."""
        engine = self._engine(request.engine)
        record, changed = await self._scheduling.put(engine, codec.put_command(request), permit(Verb.DISPATCH))
        return schedules_pb2.PutScheduleResponse(schedule=codec.schedule_info(record, with_data=True), changed=changed)

    async def GetSchedule(  # noqa: N802
        self, request: schedules_pb2.GetScheduleRequest, _context: Context
    ) -> schedules_pb2.GetScheduleResponse:
        """One schedule."""
        record = await self._scheduling.get(self._engine(request.engine), _name(request))
        demand = permit(Verb.VIEW)
        if demand is not None:
            demand(record.topic)
        return schedules_pb2.GetScheduleResponse(schedule=_info(record))

    async def ListSchedules(  # noqa: N802
        self, request: schedules_pb2.ListSchedulesRequest, _context: Context
    ) -> schedules_pb2.ListSchedulesResponse:
        """A page of schedules."""
        engine = self._engine(request.engine)
        size = page_size(request.page_size)
        after = read_page_token(request.page_token, ("schedules", engine)) or ""
        records = await self._scheduling.list(engine, after, size)
        last = records[-1].name if fills_answer(records, size) else None
        return schedules_pb2.ListSchedulesResponse(
            schedules=map(_info, records), next_page_token=page_token(last, "schedules", engine)
        )

    async def DeleteSchedule(  # noqa: N802
        self, request: schedules_pb2.DeleteScheduleRequest, _context: Context
    ) -> schedules_pb2.DeleteScheduleResponse:
        """Remove a schedule."""
        await self._scheduling.delete(self._engine(request.engine), _name(request), permit(Verb.DISPATCH))
        return schedules_pb2.DeleteScheduleResponse()

    async def PauseSchedule(  # noqa: N802
        self, request: schedules_pb2.PauseScheduleRequest, _context: Context
    ) -> schedules_pb2.PauseScheduleResponse:
        """Stop a schedule from firing."""
        await self._scheduling.pause(self._engine(request.engine), _name(request), permit(Verb.DISPATCH))
        return schedules_pb2.PauseScheduleResponse()

    async def ResumeSchedule(  # noqa: N802
        self, request: schedules_pb2.ResumeScheduleRequest, _context: Context
    ) -> schedules_pb2.ResumeScheduleResponse:
        """End a pause."""
        await self._scheduling.resume(self._engine(request.engine), _name(request), permit(Verb.DISPATCH))
        return schedules_pb2.ResumeScheduleResponse()

    async def TriggerSchedule(  # noqa: N802
        self, request: schedules_pb2.TriggerScheduleRequest, _context: Context
    ) -> schedules_pb2.TriggerScheduleResponse:
        """Dispatch a schedule's event now."""
        engine, name = self._engine(request.engine), _name(request)
        event_id = await self._scheduling.trigger(engine, name, request.request_id, permit(Verb.DISPATCH))
        return schedules_pb2.TriggerScheduleResponse(event_id=event_id)

    async def BackfillSchedule(  # noqa: N802
        self, request: schedules_pb2.BackfillScheduleRequest, _context: Context
    ) -> schedules_pb2.BackfillScheduleResponse:
        """Dispatch the events of past nominal times."""
        for field in ("start", "end"):
            if not request.HasField(field):
                raise InvalidArgument(field, "is required")
        span = (timestamp_us("start", request.start), timestamp_us("end", request.end))
        if span[1] < span[0]:
            raise InvalidArgument("end", "is before start")
        engine, name = self._engine(request.engine), _name(request)
        event_ids = await self._scheduling.backfill(engine, name, span, request.request_id, permit(Verb.DISPATCH))
        return schedules_pb2.BackfillScheduleResponse(event_ids=event_ids)

    async def PreviewSchedule(  # noqa: N802
        self, request: schedules_pb2.PreviewScheduleRequest, _context: Context
    ) -> schedules_pb2.PreviewScheduleResponse:
        """When a schedule would fire."""
        schedule = codec.previewed(request)
        limits.check_range("count", request.count, 0, MAX_PREVIEW)
        after_us = timestamp_us("after", request.after) if request.HasField("after") else self._scheduling.now_us(None)
        times = nominal_times(schedule, max(after_us, 0), request.count or DEFAULT_PREVIEW)
        return schedules_pb2.PreviewScheduleResponse(
            times=[seconds_and_nanos(us) for us in times], description=schedule.words
        )

    def _engine(self, number: int) -> EngineName:
        return engine_name("engine", number) or self._default_engine


def _name(request: Any) -> str:
    """The schedule that a request names."""
    name: str = request.name
    codec.check_schedule_name(name)
    return name


def _info(record: ScheduleRecord) -> schedules_pb2.ScheduleInfo:
    """A schedule as the current caller may see it."""
    return codec.schedule_info(record, with_data=may_see_data(record.topic))
