"""The codec's optimizations make the same bytes as plain code, and are faster."""

from __future__ import annotations

from typing import Any

from bench.redis_codec import MIN_GAIN, gains, pack_event_plainly, read_event_plainly
from duebus_server.domain.event_ids import EventIds
from duebus_server.domain.model import NewEvent
from duebus_server.engine.redis.codec.ids import pack_id
from duebus_server.engine.redis.codec.packing import pack_events, read_event
from hiredis import pack_command
from hypothesis import given
from hypothesis import strategies as st
from redis.asyncio import Connection

events = st.builds(
    NewEvent,
    id=st.one_of(st.uuids().map(str), st.text(min_size=1, max_size=20), st.just(EventIds(0, "").at(7))),
    body=st.binary(max_size=300),
    max_retries=st.one_of(st.none(), st.integers(0, 100)),
    id_is_generated=st.booleans(),
)


@given(st.lists(events, max_size=20), st.sampled_from(["ipv4:127.0.0.1:50000", "unix:", "ipv6:[::1]:1"]))
def test_events_are_packed_and_read_like_the_plain_twin_does(several: list[NewEvent], origin: str) -> None:
    packed = [pack_id(event.id) for event in several]
    plain = [pack_event_plainly(*one, origin) for one in zip(several, packed, strict=True)]
    assert pack_events(several, packed, origin) == [part for one in plain for part in one]
    for packed_id, stored in plain:
        blob = bytes(12) + stored
        assert read_event(packed_id, blob) == read_event_plainly(packed_id, blob)


@given(st.lists(st.one_of(st.binary(), st.text(), st.integers(), st.floats(allow_nan=False)), min_size=1))
def test_a_command_is_sent_like_the_plain_client_does(arguments: list[Any]) -> None:
    plain = b"".join(Connection().pack_command("EVALSHA", *arguments))
    assert pack_command(("EVALSHA", *arguments)) == plain


def test_every_shortcut_is_faster_than_its_twin() -> None:
    found = {gain.what: round(gain.factor, 1) for gain in gains(rounds=40)}
    assert {what: factor for what, factor in found.items() if factor < MIN_GAIN} == {}
