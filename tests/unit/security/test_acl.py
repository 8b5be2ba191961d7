"""Rules: who may do what, and everything else denied."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from duebus_server.security.acl import ALL_TOPICS, Acl, Verb, read_acl
from duebus_server.security.errors import BadFileError

if TYPE_CHECKING:
    from pathlib import Path

RULES = """
[[rule]]
identity = "billing-*"
verbs = ["subscribe"]
topics = ["order.*", "invoice.created"]

[[rule]]
identity = "shop"
verbs = ["dispatch", "subscribe"]
topics = ["*"]

[[rule]]
identity = "ops"
verbs = ["admin"]
topics = ["order.*"]

[[rule]]
identity = "ops"
verbs = ["stop"]

[[rule]]
identity = "support"
verbs = ["view"]
topics = ["order.*"]
"""


def acl(folder: Path, rules: str) -> Acl:
    file = folder / "acl.toml"
    file.write_text(rules)
    return read_acl(file)


@pytest.mark.parametrize(
    ("identity", "verb", "topic", "allowed"),
    [
        ("billing-1", Verb.SUBSCRIBE, "order.created", True),
        ("billing-", Verb.SUBSCRIBE, "order.", True),
        ("billing-1", Verb.SUBSCRIBE, "invoice.created", True),
        ("billing-1", Verb.SUBSCRIBE, "invoice.paid", False),
        ("billing-1", Verb.SUBSCRIBE, "orderXcreated", False),
        ("billing-1", Verb.DISPATCH, "order.created", False),
        ("billing", Verb.SUBSCRIBE, "order.created", False),
        ("xbilling-1", Verb.SUBSCRIBE, "order.created", False),
        ("shop", Verb.DISPATCH, "anything", True),
        ("shop", Verb.ADMIN, "anything", False),
        ("shop", Verb.STOP, ALL_TOPICS, False),
        ("ops", Verb.ADMIN, "order.created", True),
        ("ops", Verb.ADMIN, ALL_TOPICS, False),
        ("ops", Verb.STOP, ALL_TOPICS, True),
        ("ops", Verb.VIEW, "order.created", True),
        ("ops", Verb.PAYLOAD, "order.created", True),
        ("ops", Verb.DISPATCH, "order.created", False),
        ("support", Verb.VIEW, "order.created", True),
        ("support", Verb.PAYLOAD, "order.created", False),
        ("support", Verb.ADMIN, "order.created", False),
        ("nobody", Verb.DISPATCH, "order.created", False),
    ],
)
def test_what_no_rule_allows_is_denied(tmp_path: Path, identity: str, verb: Verb, topic: str, allowed: bool) -> None:
    assert acl(tmp_path, RULES).allows((identity,), verb, topic) is allowed


def test_a_certificate_with_several_names_has_the_rights_of_each(tmp_path: Path) -> None:
    rules = acl(tmp_path, RULES)
    assert rules.allows(("10.0.0.7", "billing-1"), Verb.SUBSCRIBE, "order.created")
    assert not rules.allows((), Verb.SUBSCRIBE, "order.created")


def test_an_action_on_all_topics_needs_a_rule_for_every_topic(tmp_path: Path) -> None:
    everything = acl(tmp_path, '[[rule]]\nidentity = "ops"\nverbs = ["admin"]\ntopics = ["*"]\n')
    assert everything.allows(("ops",), Verb.ADMIN, ALL_TOPICS)


def test_a_file_without_rules_denies_everything(tmp_path: Path) -> None:
    assert not acl(tmp_path, "").allows(("ops",), Verb.ADMIN, "order.created")


@pytest.mark.parametrize(
    ("rules", "problem"),
    [
        ("[[rule]", "is not TOML: "),
        ("default = 'allow'", "has default, but only [[rule]] tables are allowed"),
        ("rule = 1", "has rule, but only [[rule]] tables are allowed"),
        ("rule = [1]", "rule 1: is not a [[rule]] table"),
        ('[[rule]]\nverbs = ["stop"]', "rule 1: identity: a pattern is required"),
        ('[[rule]]\nidentity = "a"\ntopics = ["*"]', "rule 1: verbs: a list of strings is required"),
        ('[[rule]]\nidentity = "a"\nverbs = ["delete"]\ntopics = ["*"]', "rule 1: verbs: 'delete' is not one of "),
        ('[[rule]]\nidentity = "a"\nverbs = ["stop", "admin"]', "rule 1: topics: a list of strings is required"),
        ('[[rule]]\nidentity = "a"\nverbs = ["admin"]\ntopics = [""]', "rule 1: topics: a list of strings is required"),
        (RULES + "\ngroups = ['a']", "rule 5: has groups, but only identity, verbs and topics are allowed"),
    ],
)
def test_a_broken_rule_is_named(tmp_path: Path, rules: str, problem: str) -> None:
    with pytest.raises(BadFileError) as caught:
        acl(tmp_path, rules)
    assert str(caught.value).startswith(f"{tmp_path / 'acl.toml'}: {problem}")
    assert "\n" not in str(caught.value)
