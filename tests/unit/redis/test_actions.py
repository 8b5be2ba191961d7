"""Actions as they are stored, also by other builds."""

from __future__ import annotations

import json

from duebus_server.domain.actions import Action
from duebus_server.engine.redis.codec.actions import pack_action, unpack_actions

ACTION = Action(7, "ops", "ipv4:127.0.0.1:1", "PauseGroup", "orders", "billing", "key ä", "OK")


def test_an_action_is_read_as_it_was_stored() -> None:
    assert unpack_actions([pack_action(ACTION).encode()]) == [ACTION]


def test_an_action_of_a_later_build_is_read_without_the_fields_that_this_one_does_not_know() -> None:
    later = json.loads(pack_action(ACTION)) | {"reason": "maintenance"}
    assert unpack_actions([json.dumps(later).encode()]) == [ACTION]


def test_an_action_of_an_earlier_build_is_read_with_the_fields_that_it_had() -> None:
    assert unpack_actions([b'{"at_us": 7, "verb": "PauseGroup"}']) == [Action(7, verb="PauseGroup")]


def test_what_is_no_object_is_left_out() -> None:
    assert unpack_actions([b'[7, "ops"]', pack_action(ACTION).encode(), b"null"]) == [ACTION]
