"""The service EventBusAdmin: each method decodes, calls a use case, encodes."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from duebus.v1 import admin_pb2

from duebus_server.domain import limits
from duebus_server.domain.errors import InvalidArgument
from duebus_server.wire import admin_decode as decode
from duebus_server.wire import admin_encode as encode
from duebus_server.wire import paging
from duebus_server.wire.authorization import may_see_data
from duebus_server.wire.decode import engine_name

if TYPE_CHECKING:
    from collections.abc import Callable

    import grpc.aio

    from duebus_server.bus.administering import Administering
    from duebus_server.domain.model import EngineName

    Context = grpc.aio.ServicerContext[Any, Any]


TOPICS_AT_ONCE = 100
"""How many topics are encoded in one step of the event loop, which takes a few milliseconds."""


class EventBusAdminServicer:
    """duebus.v1.EventBusAdmin. ``admin.proto`` documents guarantees and errors."""

    def __init__(self, administering: Administering, default_engine: EngineName, now_us: Callable[[], int]) -> None:
        self._administering = administering
        self._default_engine = default_engine
        self._now_us = now_us

    async def ListTopics(  # noqa: N802  # the name on the wire
        self, request: admin_pb2.ListTopicsRequest, _context: Context
    ) -> admin_pb2.ListTopicsResponse:
        """Topics by name."""
        engine = self._engine(request.engine)
        size = paging.page_size(request.page_size)
        after = paging.read_page_token(request.page_token, (engine,)) or ""
        topics = await self._administering.list_topics(engine, after, size)
        cursor = topics[-1].topic if len(topics) == size else None
        response = admin_pb2.ListTopicsResponse(next_page_token=paging.page_token(cursor, engine))
        for count, topic in enumerate(topics, start=1):
            response.topics.append(encode.topic_info(topic, engine))
            if count % TOPICS_AT_ONCE == 0:
                await asyncio.sleep(0)
        return response

    async def GetTopic(  # noqa: N802
        self, request: admin_pb2.GetTopicRequest, _context: Context
    ) -> admin_pb2.GetTopicResponse:
        """One topic."""
        limits.check_topic(request.topic)
        engine = self._engine(request.engine)
        info = await self._administering.get_topic(engine, request.topic)
        return admin_pb2.GetTopicResponse(topic=encode.topic_info(info, engine))

    async def ListEvents(  # noqa: N802
        self, request: admin_pb2.ListEventsRequest, _context: Context
    ) -> admin_pb2.ListEventsResponse:
        """A page of events."""
        query = paging.event_query(request)
        page = await self._administering.list_events(self._engine(request.engine), request.topic, query)
        with_data = may_see_data(request.topic)
        return admin_pb2.ListEventsResponse(
            events=[encode.event_info(event, request.topic, with_data=with_data) for event in page.events],
            next_page_token=paging.list_events_token(page.next_cursor, request),
        )

    async def ListKeys(  # noqa: N802
        self, request: admin_pb2.ListKeysRequest, _context: Context
    ) -> admin_pb2.ListKeysResponse:
        """A page of keys."""
        query = paging.key_query(request)
        page = await self._administering.list_keys(self._engine(request.engine), request.topic, query)
        return admin_pb2.ListKeysResponse(
            keys=[encode.key_info(key) for key in page.keys],
            next_page_token=paging.list_keys_token(page.next_cursor, request),
        )

    async def GetEvent(  # noqa: N802
        self, request: admin_pb2.GetEventRequest, _context: Context
    ) -> admin_pb2.GetEventResponse:
        """Everything known about an event."""
        limits.check_topic(request.topic)
        if not request.event_id:
            raise InvalidArgument("event_id", "an event id is required")
        engine = self._engine(request.engine)
        info = await self._administering.get_event(engine, request.topic, request.event_id)
        event = encode.event_info(info, request.topic, with_data=may_see_data(request.topic))
        return admin_pb2.GetEventResponse(event=event)

    async def ConfigureTopic(  # noqa: N802
        self, request: admin_pb2.ConfigureTopicRequest, _context: Context
    ) -> admin_pb2.ConfigureTopicResponse:
        """Change the settings of a topic or a group."""
        changes = decode.topic_changes(request)
        engine = self._engine(request.engine)
        config = await self._administering.configure(engine, request.topic, request.group, changes)
        return admin_pb2.ConfigureTopicResponse(config=encode.topic_config(config))

    async def DeleteTopic(  # noqa: N802
        self, request: admin_pb2.DeleteTopicRequest, _context: Context
    ) -> admin_pb2.DeleteTopicResponse:
        """Delete a topic and everything in it."""
        limits.check_topic(request.topic)
        removed = await self._administering.delete_topic(self._engine(request.engine), request.topic)
        return admin_pb2.DeleteTopicResponse(removed=removed)

    async def DeleteGroup(  # noqa: N802
        self, request: admin_pb2.DeleteGroupRequest, _context: Context
    ) -> admin_pb2.DeleteGroupResponse:
        """Delete a group and its copies of the events."""
        decode.check_place(request)
        engine = self._engine(request.engine)
        removed = await self._administering.delete_group(engine, request.topic, request.group)
        return admin_pb2.DeleteGroupResponse(removed=removed)

    async def PauseGroup(  # noqa: N802
        self, request: admin_pb2.PauseGroupRequest, _context: Context
    ) -> admin_pb2.PauseGroupResponse:
        """Stop deliveries to a group."""
        decode.check_place(request)
        await self._administering.pause_group(self._engine(request.engine), request.topic, request.group)
        return admin_pb2.PauseGroupResponse()

    async def ResumeGroup(  # noqa: N802
        self, request: admin_pb2.ResumeGroupRequest, _context: Context
    ) -> admin_pb2.ResumeGroupResponse:
        """Resume deliveries to a group."""
        decode.check_place(request)
        await self._administering.resume_group(self._engine(request.engine), request.topic, request.group)
        return admin_pb2.ResumeGroupResponse()

    async def CancelEvents(  # noqa: N802
        self, request: admin_pb2.CancelEventsRequest, _context: Context
    ) -> admin_pb2.CancelEventsResponse:
        """Remove events that aren't leased."""
        engine, group = self._engine(request.engine), request.group or None
        if request.key:
            answer = await self._administering.cancel_key(engine, request.topic, decode.cancelled_key(request), group)
        else:
            answer = await self._administering.cancel(engine, request.topic, decode.event_ids(request), group)
        return admin_pb2.CancelEventsResponse(
            cancelled=answer.cancelled,
            leased_event_ids=answer.leased_event_ids,
            missing_event_ids=answer.missing_event_ids,
        )

    async def RescheduleEvents(  # noqa: N802
        self, request: admin_pb2.RescheduleEventsRequest, _context: Context
    ) -> admin_pb2.RescheduleEventsResponse:
        """Change when events are due."""
        ids = decode.event_ids(request)
        due = decode.new_due_time(request, self._now_us())
        engine = self._engine(request.engine)
        rescheduled = await self._administering.reschedule(engine, request.topic, ids, request.group or None, due)
        return admin_pb2.RescheduleEventsResponse(rescheduled=rescheduled)

    async def RedriveEvents(  # noqa: N802
        self, request: admin_pb2.RedriveEventsRequest, _context: Context
    ) -> admin_pb2.RedriveEventsResponse:
        """Retry dead letters."""
        chosen, rate = decode.dead_letter_filter(request), decode.rate(request)
        engine = self._engine(request.engine)
        redriven = await self._administering.redrive(engine, request.topic, request.group, chosen, rate)
        return admin_pb2.RedriveEventsResponse(redriven=redriven)

    async def PurgeEvents(  # noqa: N802
        self, request: admin_pb2.PurgeEventsRequest, _context: Context
    ) -> admin_pb2.PurgeEventsResponse:
        """Remove dead letters."""
        chosen = decode.dead_letter_filter(request)
        engine = self._engine(request.engine)
        purged = await self._administering.purge(engine, request.topic, request.group, chosen)
        return admin_pb2.PurgeEventsResponse(purged=purged)

    def _engine(self, number: int) -> EngineName:
        return engine_name("engine", number) or self._default_engine
