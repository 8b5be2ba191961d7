"""The service EventBusAdmin: each method decodes, calls a use case, encodes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from duebus.v1 import admin_pb2

from duebus_server.domain import limits
from duebus_server.domain.errors import InvalidArgument
from duebus_server.wire import admin_codec as codec
from duebus_server.wire import passthrough
from duebus_server.wire.decode import engine_name

if TYPE_CHECKING:
    import grpc.aio

    from duebus_server.bus.administering import Administering
    from duebus_server.domain.model import EngineName

    Context = grpc.aio.ServicerContext[Any, Any]


class EventBusAdminServicer:
    """duebus.v1.EventBusAdmin. Guarantees and errors stand in ``admin.proto``."""

    def __init__(self, administering: Administering, default_engine: EngineName) -> None:
        self._administering = administering
        self._default_engine = default_engine

    async def ListTopics(  # noqa: N802  # the name on the wire
        self, request: admin_pb2.ListTopicsRequest, _context: Context
    ) -> admin_pb2.ListTopicsResponse:
        """Topics by name."""
        engine = self._engine(request.engine)
        size = codec.page_size(request.page_size)
        after = codec.read_page_token(request.page_token, (engine,)) or ""
        topics = await self._administering.list_topics(engine, after, size)
        cursor = topics[-1].topic if len(topics) == size else None
        return admin_pb2.ListTopicsResponse(
            topics=[codec.topic_info(topic, engine) for topic in topics],
            next_page_token=codec.page_token(cursor, engine),
        )

    async def GetTopic(  # noqa: N802
        self, request: admin_pb2.GetTopicRequest, _context: Context
    ) -> admin_pb2.GetTopicResponse:
        """One topic."""
        limits.check_topic(request.topic)
        engine = self._engine(request.engine)
        info = await self._administering.get_topic(engine, request.topic)
        return admin_pb2.GetTopicResponse(topic=codec.topic_info(info, engine))

    async def ListEvents(self, request: admin_pb2.ListEventsRequest, _context: Context) -> Any:  # noqa: N802
        """A page of events, as a ``passthrough.ListEventsResponse``."""
        query = codec.event_query(request)
        page = await self._administering.list_events(self._engine(request.engine), request.topic, query)
        return passthrough.ListEventsResponse(
            events=[codec.event_info(event, request.topic) for event in page.events],
            next_page_token=codec.list_events_token(page.next_cursor, request),
        )

    async def GetEvent(self, request: admin_pb2.GetEventRequest, _context: Context) -> Any:  # noqa: N802
        """One event's story, as a ``passthrough.GetEventResponse``."""
        limits.check_topic(request.topic)
        if not request.event_id:
            raise InvalidArgument("event_id", "an event id is required")
        engine = self._engine(request.engine)
        info = await self._administering.get_event(engine, request.topic, request.event_id)
        return passthrough.GetEventResponse(event=codec.event_info(info, request.topic))

    def _engine(self, number: int) -> EngineName:
        return engine_name("engine", number) or self._default_engine
