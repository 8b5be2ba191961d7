"""The Lua scripts, read from their files."""

from __future__ import annotations

import re
from importlib.resources import files

LUA = files("duebus_server.engine.redis") / "lua"
SOURCES = {path.name.removesuffix(".lua"): path.read_text() for path in LUA.iterdir()}
INCLUDED = {"common", "moved", "every_group"} | {
    name for source in SOURCES.values() for name in re.findall(r"^-- includes (\w+)$", source, re.MULTILINE)
}
SCRIPTS = SOURCES.keys() - INCLUDED
"""The scripts that are run; the others are included by them."""
