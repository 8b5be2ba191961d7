"""Group names for subscribers that give none."""

from __future__ import annotations

import re
import secrets

_EPHEMERAL = re.compile(r"ephemeral-[0-9a-f]{32}")


def new_ephemeral_group() -> str:
    """A new name that nobody can guess, so that no other subscriber joins the group by chance or on purpose."""
    return f"ephemeral-{secrets.token_hex(16)}"


def is_new_each_time(group: str) -> bool:
    """Whether ``new_ephemeral_group`` made this name: there may be any number of them."""
    return _EPHEMERAL.fullmatch(group) is not None
