"""An operator's action as it is stored: a JSON object of its fields."""

from __future__ import annotations

import json
from dataclasses import asdict, fields
from typing import TYPE_CHECKING

from duebus_server.domain.actions import Action

if TYPE_CHECKING:
    from collections.abc import Iterable

_FIELDS = frozenset(each.name for each in fields(Action))


def pack_action(action: Action) -> str:
    """An action as text."""
    return json.dumps(asdict(action))


def unpack_actions(stored: Iterable[bytes]) -> list[Action]:
    """The actions in these texts. Other builds may have written more fields or fewer; what is no object is left out."""
    found = [json.loads(text) for text in stored]
    return [
        Action(**{name: value for name, value in one.items() if name in _FIELDS})
        for one in found
        if isinstance(one, dict)
    ]
