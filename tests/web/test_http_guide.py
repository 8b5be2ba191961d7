"""docs/http.md: every curl command prints what the page shows."""

from __future__ import annotations

import re
import shlex
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from support.documents import ROOT
from support.web import JSON, Web

if TYPE_CHECKING:
    from collections.abc import Callable

    from support.server_process import ServerProcess

PULL = re.compile(r"curl -X POST '(\S+)'")
ACK = re.compile(r'^curl (\S+Ack) .* -d "(.+)"$', re.MULTILINE)
COMMAND = re.compile(r"^\$ curl (.+)\n(.+)$", re.MULTILINE)


def test_the_commands_print_what_is_shown(start_server: Callable[..., ServerProcess]) -> None:
    web = Web(start_server("--web-listen", "127.0.0.1:0").web)
    commands = COMMAND.findall((ROOT / "docs/http.md").read_text())
    assert len(commands) >= 5
    for command, shown in commands:
        url, *flags = shlex.split(command)
        options = list(zip(flags[::2], flags[1::2], strict=True))
        headers = dict(value.split(": ", 1) for flag, value in options if flag == "-H")
        [body] = [value for flag, value in options if flag == "-d"]
        assert len(headers) + 1 == len(options)
        assert web.post(urlsplit(url).path, body, headers).body.decode() == shown


def test_the_commands_that_pull_work_as_shown(start_server: Callable[..., ServerProcess]) -> None:
    web = Web(start_server("--web-listen", "127.0.0.1:0").web)
    text = (ROOT / "docs/http.md").read_text()
    for topic_url in PULL.findall(text):
        address = urlsplit(topic_url)
        topic = address.path.split("/")[3]
        assert web.post(f"/v1/topics/{topic}/events", b"x").status == 202
        [delivery] = web.post(f"{address.path}?{address.query}").json["deliveries"]
        [url, body] = ACK.findall(text)[0]
        body = body.replace('\\"', '"').replace("$token", delivery["leaseToken"])
        assert web.post(urlsplit(url).path, body, JSON).json == {}
