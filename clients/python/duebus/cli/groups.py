"""`duebus pause`, `resume`, `delete-group` and `delete-topic`."""

from typing import Annotated

import typer

from duebus._core.admin_model import GroupInfo, TopicInfo
from duebus._core.enums import Engine
from duebus.cli import options
from duebus.cli.confirm import confirm
from duebus.cli.failures import CommandFailed
from duebus.cli.records import record_of
from duebus.cli.session import Session, connected
from duebus.cli.spans import format_count
from duebus.client import Client

_DEFAULT = "default"
_Group = Annotated[
    str,
    typer.Argument(metavar="GROUP", help="The group. Default: default, or the topic's only one.", show_default=False),
]
_NamedGroup = Annotated[str, typer.Argument(metavar="GROUP", help="The group of the topic.", show_default=False)]


def group_meant(client: Client, topic: str, given: str, engine: Engine | None) -> str:
    """The given group, or else "default" if there is one, or else the topic's only lasting group.

    Raises:
        CommandFailed: none is given, and the topic has several lasting ones, or none yet.
    """
    group = group_or_none(client, topic, given, engine)
    if not group:
        raise CommandFailed(f"topic {topic} has no groups yet")
    return group


def group_or_none(client: Client, topic: str, given: str, engine: Engine | None) -> str:
    """As ``group_meant``; empty if the topic has no lasting group: its events wait for the first one.

    Raises:
        CommandFailed: none is given, and the topic has several lasting ones.
    """
    if given:
        return given
    found = client.admin.get_topic(topic, engine=engine).groups
    groups = [each.group for each in found if each.group and not each.ephemeral]
    if _DEFAULT in groups or not groups:
        return _DEFAULT if groups else ""
    if len(groups) > 1:
        raise CommandFailed(f"topic {topic} has no group {_DEFAULT}; choose one of: {', '.join(groups)}")
    return groups[0]


@connected
def pause(session: Session, topic: options.Topic, group: _Group = "", engine: options.OneEngine = None) -> None:
    """Deliver nothing to a group until it is resumed.

    Its workers stay connected, and its events wait.
    """
    with session.client() as client:
        group = group_meant(client, topic, group, engine)
        client.admin.pause_group(topic, group, engine=engine)
    session.out.record({"topic": topic, "group": group, "paused": True})
    session.out.line(f"paused {topic} in group {group}; 'duebus resume {topic} {group}' ends it")


@connected
def resume(session: Session, topic: options.Topic, group: _Group = "", engine: options.OneEngine = None) -> None:
    """End the pause of a group.

    Events that became due meanwhile are delivered.
    """
    with session.client() as client:
        group = group_meant(client, topic, group, engine)
        client.admin.resume_group(topic, group, engine=engine)
    session.out.record({"topic": topic, "group": group, "paused": False})
    session.out.line(f"resumed {topic} in group {group}")


@connected
def delete_group(
    session: Session,
    topic: options.Topic,
    group: _NamedGroup,
    engine: options.OneEngine = None,
    yes: options.Yes = False,
) -> None:
    """Remove a group and its copies of the events, including dead ones.

    Asks first. Subscribing creates the group again, for events dispatched from then on.
    """
    with session.client() as client:
        if not yes:
            found = client.admin.get_topic(topic, engine=engine)
            for each in found.groups:
                if each.group == group:
                    confirm(f"delete group {group} of {topic}, with {_content(each)}")
        result = client.admin.delete_group(topic, group, engine=engine, timeout=session.given.timeout)
    session.out.record({"topic": topic, "group": group, **record_of(result)})
    session.out.line(f"deleted group {group} of {topic}, with {format_count(result.removed, 'event')}")


@connected
def delete_topic(
    session: Session, topic: options.Topic, engine: options.OneEngine = None, yes: options.Yes = False
) -> None:
    """Remove a topic with its groups, settings and events, including dead ones.

    Asks first. Dispatching or subscribing to the topic creates it again.
    """
    with session.client() as client:
        if not yes:
            found = client.admin.get_topic(topic, engine=engine)
            confirm(f"delete {topic}, with {_contents(found)}")
        result = client.admin.delete_topic(topic, engine=engine, timeout=session.given.timeout)
    session.out.record({"topic": topic, **record_of(result)})
    session.out.line(f"deleted {topic}, with {format_count(result.removed, 'event')}")


def _content(group: GroupInfo) -> str:
    waiting = group.scheduled + group.ready + group.leased
    return (
        f"{format_count(waiting, 'event')}, {format_count(group.dead, 'dead letter')} "
        f"and {format_count(len(group.subscribers), 'subscriber')}"
    )


def _contents(topic: TopicInfo) -> str:
    """Counts an event once, and a dead letter in each group that has it."""
    groups = [each for each in topic.groups if each.group]
    dead = sum(each.dead for each in groups)
    subscribers = sum(len(each.subscribers) for each in groups)
    return (
        f"{format_count(len(groups), 'group')}, {format_count(topic.queued, 'event')}, "
        f"{format_count(dead, 'dead letter')} and {format_count(subscribers, 'subscriber')}"
    )
