"""The flags of `duebus serve` are the server's settings."""

import inspect

from duebus.cli.serve import serve
from duebus_server.config import Settings


def test_every_setting_has_a_flag_and_every_flag_is_a_setting() -> None:
    flags = set(inspect.signature(serve).parameters) - {"as_json"}
    assert flags == set(Settings.model_fields)


def test_no_flag_has_a_default_of_its_own() -> None:
    """What is not given must leave the environment and the file their say."""
    parameters = inspect.signature(serve).parameters
    assert {name for name, each in parameters.items() if each.default is not None} == {"as_json"}
