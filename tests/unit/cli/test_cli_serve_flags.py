"""The flags of `duebus serve` are generated from the server's settings."""

import re
from typing import Any

import pytest
import typer
from duebus.cli.app import app
from duebus_server.config import Settings, default, notation


@pytest.fixture(scope="module")
def flags() -> dict[str, Any]:
    """The options of the command, by their names."""
    group: Any = typer.main.get_command(app)
    return {each.name: each for each in group.get_command(None, "serve").params}


def test_every_setting_has_a_flag_and_every_flag_is_a_setting(flags: dict[str, Any]) -> None:
    assert flags.keys() - {"help"} == Settings.model_fields.keys() | {"as_json", "test_clock"}


@pytest.mark.parametrize("name", Settings.model_fields)
def test_a_flag_describes_the_setting_and_has_no_value_of_its_own(flags: dict[str, Any], name: str) -> None:
    flag = flags[name]
    assert flag.opts == [f"--{name.replace('_', '-')}"]
    assert flag.help.startswith(Settings.model_fields[name].description)
    assert flag.help.endswith(f" Default: {default(name)}.") or not default(name)
    assert flag.metavar.split("|") == re.split(", | or ", notation(name).metavar)
    assert flag.default is None, "a flag that is not given must not override the environment and the file"
