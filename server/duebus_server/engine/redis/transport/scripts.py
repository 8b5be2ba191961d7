"""Loads the Lua scripts and runs them.

A script is one transition. The loader puts the code that scripts share before each one: the key functions of
``keys.py``, ``common.lua``, ``moved.lua`` (unless it has the line ``-- runs on closed partitions too``),
``every_group.lua`` (if its keys are those of every group), and the files that it names in lines
``-- includes NAME``. A script that it names in a line ``-- runs NAME`` becomes a function of its arguments. The loader
leaves out the functions and constants that the script does not use: Lua creates them all in each run, and takes no
more than 200. It writes the values of constants in their place: for each name from outside that a function uses, Lua
searches those that other functions use, when it creates the function.
"""

from __future__ import annotations

import asyncio
import re
from enum import StrEnum
from functools import cache
from hashlib import sha1
from importlib.resources import files
from typing import TYPE_CHECKING, Any, NamedTuple

from redis.exceptions import NoPermissionError, NoScriptError, ResponseError

from duebus_server.engine.redis.keys import LUA_KEYS
from duebus_server.engine.redis.transport.clients import ANSWER_TIMEOUT_S

if TYPE_CHECKING:
    from collections.abc import Sequence

    from redis.asyncio import Redis

    from duebus_server.engine.redis.transport.script_client import ScriptClient

_INCLUDES = re.compile(r"^-- includes (\w+)$", re.MULTILINE)
_RUNS = re.compile(r"^-- runs (\w+)$", re.MULTILINE)
_KEYS = re.compile(r"^-- KEYS {5}(.+)$", re.MULTILINE)
_REFUSED, _LINE = "can't run this command or subcommand", re.compile(r"user_script: ?(\d+)")
_COMMAND = re.compile(r"redis\.p?call\('([A-Z]+)'")
_PASSED = re.compile(r"(?:write|read)_all\('([A-Z]+)'")
_UNIT = re.compile(
    r"^(local (?:function (\w+)\([^)\n]*\)\n.*?^end\n|([A-Z][A-Z0-9_]*(?:, [A-Z][A-Z0-9_]*)*) = [^\n]*\n))",
    re.MULTILINE | re.DOTALL,
)
"""A function, or constants in one line."""
_DECLARED = re.compile(r"^local (?:function (\w+)|([\w, ]+?)(?: =|$))", re.MULTILINE)
_RARELY_NEEDED = frozenset({"policies", "slots", "ranking"})
"""Files that are left out until a topic needs them: Lua creates their functions in each run."""
_LITERAL = re.compile(r"local [A-Z]\w* = (\d[\de]*|true|false|'[^'\n]*')\n")
_ASSIGNED = re.compile(r"^ *([A-Z][A-Z0-9_]*(?:, [A-Z][A-Z0-9_]*)*) = ", re.MULTILINE)
_WORD = re.compile(r"--.*|'[^'\n]*'|\b[A-Z][A-Z0-9_]*\b")
_COMMENT, _NAME = re.compile(r"--.*"), re.compile(r"[A-Za-z_]\w*")
_RUNS_ON_CLOSED = "\n-- runs on closed partitions too\n"


class KeySet(StrEnum):
    """Keys that a script touches, as its header names them after ``-- KEYS``."""

    TOPIC = "topic"
    """All of the topic itself."""
    GROUP = "group"
    """All of the group that its first own argument names."""
    UNCLAIMED = "unclaimed"
    """All of the group without a name, which holds the events of a topic that has no group yet."""
    EVERY_GROUP = "every group"
    """All of every group of the topic, and of the group without a name."""


class Script:
    """A Lua script, run by its digest, and sent as a whole if Redis does not have it.

    Args:
        name: of its file.
        without: files that it includes and that its runs do not need.

    Attributes:
        key_sets: the keys that it touches, besides those that the caller names.
        whole: the same, or the script with what only topics with priorities, limits or key policies need, to which
            ``moved.lua`` refers.
    """

    def __init__(self, name: str, *, without: Sequence[str] = (), is_whole: bool = False) -> None:
        self.name = name
        own = _source(name)
        steps = _RUNS.findall(own)
        header = _KEYS.search(own)
        named = header[1].split(", ") if header else []
        self.key_sets = frozenset(one for one in KeySet if one in named)
        included = [one for one in _included(own, steps) if one not in without]
        is_whole = is_whole or _RUNS_ON_CLOSED in own or not _RARELY_NEEDED & set(included)
        self.whole: Script = self if is_whole else Script(name, without=without, is_whole=True)
        shared = [
            "common",
            *([] if _RUNS_ON_CLOSED in own else ["moved"]),
            *(["every_group"] if KeySet.EVERY_GROUP in self.key_sets else []),
            *(one for one in included if is_whole or one not in _RARELY_NEEDED),
        ]
        known = f"local IS_WHOLE = {str(is_whole).lower()}\n"
        sources = [LUA_KEYS, known, *map(_source, shared), *map(_as_function, steps), own]
        self._source = _join_used(sources, hide=True)
        self._digest = sha1(self._source.encode(), usedforsecurity=False).hexdigest()

    async def run(self, client: ScriptClient | Redis, keys: Sequence[str], arguments: Sequence[Any]) -> Any:
        """Run it on the node that has ``keys``.

        A script that Redis has forgotten (restart, failover, SCRIPT FLUSH) is sent again. That is safe, because nothing
        has run. Both answers together may take ANSWER_TIMEOUT_S.

        Raises:
            RedisError, asyncio.TimeoutError: as the client does.
        """
        give_up_s = asyncio.get_running_loop().time() + ANSWER_TIMEOUT_S
        try:
            try:
                return await client.evalsha(self._digest, len(keys), *keys, *arguments)
            except NoScriptError:
                async with asyncio.timeout_at(give_up_s):
                    return await client.eval(self._source, len(keys), *keys, *arguments)
        except ResponseError as error:
            command = self._refused_command(str(error))
            if command is None:
                raise
            raise NoPermissionError(f"the user can't run the '{command}' command") from error

    def _refused_command(self, text: str) -> str | None:
        """The command that the user of Redis may not run, if ``text`` reports that with only a line number."""
        line = _LINE.search(text) if _REFUSED in text else None
        if line is None:
            return None
        named = _COMMAND.findall(self._source.splitlines()[int(line[1]) - 1])
        # A line of ``write_all`` or ``read_all`` runs the command that it is called with.
        return "' or '".join(sorted({name.lower() for name in named or _PASSED.findall(self._source)}))


def _included(own: str, steps: Sequence[str]) -> list[str]:
    """The files that a script and the steps that it runs include."""
    return list(dict.fromkeys(one for source in [own, *map(_source, steps)] for one in _INCLUDES.findall(source)))


def _as_function(step: str) -> str:
    """A script as a function of its arguments."""
    return f"local {step} = function(ARGV)\n{_source(step)}end\n"


@cache
def _source(name: str) -> str:
    return (files("duebus_server.engine.redis") / "lua" / f"{name}.lua").read_text()


class _Part(NamedTuple):
    """A function or some constants of a Lua file, or the text between two of these.

    Attributes:
        defines: their names; none for text between them.
        names: all names in it, outside comments.
    """

    text: str
    defines: frozenset[str]
    names: frozenset[str]


@cache
def _parts(source: str) -> Sequence[_Part]:
    between, *rest = _UNIT.split(source)
    texts = [(between, "")]
    for unit, function, constants, after in zip(rest[::4], rest[1::4], rest[2::4], rest[3::4], strict=True):
        texts += [(unit, function)] if function else _one_by_one(unit, constants)
        texts.append((after, ""))
    return [_Part(text, *map(_names_in, (defined, text))) for text, defined in texts]


def _one_by_one(unit: str, constants: str) -> list[tuple[str, str]]:
    """A line of constants as a line for each, if every one has a value of its own."""
    names, values = constants.split(", "), unit.partition(" = ")[2].rstrip("\n").partition(" -- ")[0].split(", ")
    if len(names) != len(values) or "(" in unit:
        return [(unit, constants)]
    return [(f"local {name} = {value}\n", name) for name, value in zip(names, values, strict=True)]


def _names_in(text: str) -> frozenset[str]:
    return frozenset(_NAME.findall(_COMMENT.sub("", text)))


def _join_used(sources: Sequence[str], *, hide: bool) -> str:
    """These sources as one, without the functions and constants that are not used: only what follows can use them. With
    ``hide``, what only one of them needs is hidden from the others.
    """
    used: set[str] = set()
    joined: list[str] = []
    literals = _literals_in(sources)
    for source in reversed(sources):
        needed = frozenset(used)
        kept: list[str] = []
        for part in reversed(_parts(source)):
            if not part.defines or part.defines & used - literals.keys():
                kept.append(_WORD.sub(lambda word: literals.get(word[0], word[0]), part.text))
                used |= part.names
        text = "".join(reversed(kept))
        joined.append(_hide_unneeded(text, needed) if needed and hide else text)
    return "\n".join(reversed(joined))


def _literals_in(sources: Sequence[str]) -> dict[str, str]:
    """The constants whose values are numbers, texts or booleans, and that never have another one in these sources."""
    texts: dict[str, set[str]] = {}
    for part in (part for source in sources for part in _parts(source)):
        for name in part.defines:
            texts.setdefault(name, set()).add(part.text)
    assigned = {name for source in sources for names in _ASSIGNED.findall(source) for name in names.split(", ")}
    only = {name: text for name, (text, *others) in texts.items() if not others and name not in assigned}
    return {name: literal[1] for name, text in only.items() if (literal := _LITERAL.match(text))}


def _hide_unneeded(text: str, needed: frozenset[str]) -> str:
    """A source as a block, outside of which only the needed names are known: a script can have 200 locals."""
    exported: list[str] = []

    def declare(match: re.Match[str]) -> str:
        names = [match[1]] if match[1] else match[2].split(", ")
        if not needed & set(names):
            return match[0]
        exported.extend(names)
        if match[1]:
            return match[0].removeprefix("local ")
        return match[0].removeprefix("local ") if match[0].endswith("=") else ""

    block = _DECLARED.sub(declare, text)
    return f"local {', '.join(exported)}\ndo\n{block}end\n" if exported else f"do\n{block}end\n"
