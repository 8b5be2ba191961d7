"""The source of a script: its own file and what it shares with others."""

from __future__ import annotations

import re
from importlib.resources import files

import pytest
from duebus_server.engine.redis.keys import LUA_KEYS
from duebus_server.engine.redis.transport.scripts import Script, _join_used

LUA = {
    file.name.removesuffix(".lua"): file.read_text()
    for file in (files("duebus_server.engine.redis") / "lua").iterdir()
    if file.name.endswith(".lua")
}
SCRIPTS = sorted(name for name, text in LUA.items() if "\n-- KEYS  " in text or "\n-- ARGV  " in text)
FUNCTION = re.compile(r"^(?:local )?function (\w+)", re.MULTILINE)
DECLARED = re.compile(r"^local ([\w, ]+)$", re.MULTILINE)
SHARED = {name for text in [LUA_KEYS, *LUA.values()] for name in FUNCTION.findall(text)}


def code_of(name: str) -> str:
    return re.sub("--.*", "", Script(name).whole._source)


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_has_the_functions_that_it_uses_and_no_others(name: str) -> None:
    code = code_of(name)
    made = set(re.findall(r"\bfunction (\w+)", code))
    rest = DECLARED.sub("", re.sub(r"\bfunction \w+", "", code))
    assert made >= set(re.findall(r"(?<!\.)\b(\w+)\(", rest)) & SHARED
    assert made <= set(re.findall(r"\w+", rest))


def test_a_script_keeps_all_that_lies_between_functions_but_unused_constants() -> None:
    code = code_of("dispatch")
    used = set(re.findall(r"\w+", DECLARED.sub("", re.sub(r"^(?:local )?[\w, ]+ =", "", code, flags=re.MULTILINE))))
    for text in (LUA_KEYS, LUA["common"], LUA["every_group"], LUA["dispatch"]):
        for statement in re.findall(r"^local [\w, ]+ = .*$|^return .*$", re.sub("--.*", "", text), re.MULTILINE):
            defined = re.findall(r"\w+", statement.partition("=")[0].removeprefix("local"))
            if re.fullmatch(r"local [A-Z].*", statement):
                there = " ".join(re.findall(r"^(?:local )?([\w, ]+) =", code, re.MULTILINE))
                assert set(defined) & used <= set(re.findall(r"\w+", there))
            else:
                with_values = re.sub(r"\b[A-Z][A-Z0-9_]+\b", ".+", re.escape(statement.removeprefix("local ")))
                assert re.search(with_values, code)


def test_the_values_of_constants_stand_in_their_place() -> None:
    shared = """
local STEP, DONE, IS_NEW = 10, 'done', false
local COUNT = 0
local TIMES = f()
local OTHER = 1

local function add()
  COUNT = COUNT + STEP
end
"""
    own = "add()\nreturn COUNT, TIMES, DONE, IS_NEW, 'STEP', STEPS -- STEP\n"
    joined = _join_used([shared, own], hide=True)

    assert "COUNT = COUNT + 10\n" in joined
    assert "return COUNT, TIMES, 'done', false, 'STEP', STEPS -- STEP\n" in joined
    assert not re.search("(local|do)\n.*(STEP|DONE|IS_NEW|OTHER) =", joined)


def test_constants_of_one_name_keep_their_values() -> None:
    shared = "local LIMIT, STEP = 10, 2\n\nlocal function most()\n  return LIMIT + STEP\nend\n"

    for value in ("20", "tonumber(ARGV[6])"):
        joined = _join_used([shared, f"local LIMIT = {value}\nreturn most(), LIMIT\n"], hide=True)

        assert "LIMIT = 10\n" in joined
        assert "return LIMIT + 2\n" in joined
        assert joined.endswith(f"local LIMIT = {value}\nreturn most(), LIMIT\n")


def test_a_dispatch_without_reservations_is_sent_without_hand_over() -> None:
    made = set(FUNCTION.findall(Script("dispatch", without="hand_over")._source))
    assert made < set(FUNCTION.findall(Script("dispatch")._source))
    assert not made & set(FUNCTION.findall(LUA["hand_over"] + LUA["granting"]))
