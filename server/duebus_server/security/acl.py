"""The ACL: which identity may do what on which topics. What no rule allows is denied.

A file of rules in TOML::

    [[rule]]
    identity = "billing-*"
    verbs = ["subscribe"]
    topics = ["order.*", "invoice.created"]

In patterns ``*`` stands for any characters, none included; nothing else is special.
"""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from duebus_server.security.errors import BadFileError, unreadable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    Matches = Callable[[str], object]

ALL_TOPICS = "*"
"""Stands for all topics together. No topic has this name, so only a rule for ``*`` allows it."""

CACHED_ANSWERS = 10_000


class Verb(StrEnum):
    """What a rule allows."""

    DISPATCH = "dispatch"
    SUBSCRIBE = "subscribe"
    """Receive events and settle them."""
    VIEW = "view"
    """Call what only reads in the service EventBusAdmin. The data of events is withheld."""
    PAYLOAD = "payload"
    """See the data of events in answers of EventBusAdmin."""
    ADMIN = "admin"
    """Call everything in the service EventBusAdmin, with the data of events: includes ``view`` and ``payload``."""
    STOP = "stop"
    """Stop the server. Topics don't matter."""


INCLUDED = {Verb.ADMIN: frozenset({Verb.VIEW, Verb.PAYLOAD})}
"""What a verb allows beside what it says."""


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule. ``identity`` and ``topics`` are patterns."""

    identity: str
    verbs: frozenset[Verb]
    topics: tuple[str, ...]


class Acl:
    """The rules in force."""

    def __init__(self, rules: Iterable[Rule]) -> None:
        self._rules = [(_matcher(rule.identity), _all_of(rule.verbs), _topics_matcher(rule.topics)) for rule in rules]
        self.allows = lru_cache(CACHED_ANSWERS)(self._allows)
        """Whether one of the names may do this. ``topic`` is ``ALL_TOPICS`` for an action on all topics."""

    def _allows(self, names: tuple[str, ...], verb: Verb, topic: str) -> bool:
        return any(
            verb in verbs and (verb is Verb.STOP or on_topic(topic)) and any(map(is_identity, names))
            for is_identity, verbs, on_topic in self._rules
        )


def read_acl(path: Path) -> Acl:
    """Read the rules of a file.

    Raises:
        BadFileError: it can't be read, isn't TOML, or has a malformed rule.
    """
    try:
        content = tomllib.loads(path.read_text())
    except OSError as error:
        raise unreadable(path, error) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadFileError(path, f"is not TOML: {error}") from error
    rules = content.pop("rule", [])
    if content or not isinstance(rules, list):
        raise BadFileError(path, f"has {next(iter(content), 'rule')}, but only [[rule]] tables are allowed")
    return Acl([_rule(rule, path, f"rule {number}") for number, rule in enumerate(rules, start=1)])


def _rule(rule: Any, path: Path, where: str) -> Rule:
    if not isinstance(rule, dict):
        raise BadFileError(path, f"{where}: is not a [[rule]] table")
    unknown = sorted(set(rule) - {"identity", "verbs", "topics"})
    if unknown:
        raise BadFileError(path, f"{where}: has {unknown[0]}, but only identity, verbs and topics are allowed")
    identity = rule.get("identity")
    if not isinstance(identity, str) or not identity:
        raise BadFileError(path, f"{where}: identity: a pattern is required")
    verbs = _texts(rule, "verbs", path, where)
    wrong = [verb for verb in verbs if verb not in set(Verb)]
    if wrong:
        raise BadFileError(path, f"{where}: verbs: {wrong[0]!r} is not one of {', '.join(Verb)}")
    only_stops = set(verbs) == {Verb.STOP}
    topics = [] if only_stops and "topics" not in rule else _texts(rule, "topics", path, where)
    return Rule(identity, frozenset(map(Verb, verbs)), tuple(topics))


def _all_of(verbs: frozenset[Verb]) -> frozenset[Verb]:
    return verbs.union(*(INCLUDED.get(verb, ()) for verb in verbs))


def _texts(rule: dict[str, Any], key: str, path: Path, where: str) -> Sequence[str]:
    texts = rule.get(key)
    if not isinstance(texts, list) or not texts or not all(isinstance(text, str) and text for text in texts):
        raise BadFileError(path, f"{where}: {key}: a list of strings is required")
    return texts


def _topics_matcher(patterns: Sequence[str]) -> Matches:
    matchers = [_matcher(pattern) for pattern in patterns]
    return lambda topic: any(one(topic) for one in matchers)


def _matcher(pattern: str) -> Matches:
    return re.compile(".*".join(map(re.escape, pattern.split("*"))), re.DOTALL).fullmatch
