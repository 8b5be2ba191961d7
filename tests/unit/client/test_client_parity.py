"""The sync client is what is generated from the asyncio one, and its documentation fits."""

import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import duebus
import duebus.aio
import duebus.client
import pytest
from duebus._sync.subscription import Subscription

GENERATOR = Path(__file__).parents[3] / "clients/python/generate_sync.py"


def test_the_sync_client_is_current() -> None:
    ran = subprocess.run([sys.executable, GENERATOR, "--check"], check=False, capture_output=True, text=True)
    assert (ran.returncode, ran.stderr) == (0, "")


@pytest.mark.parametrize("of_sync", [duebus.Client, duebus.client.AdminClient, Subscription])
def test_its_documentation_does_not_mention_asyncio(of_sync: type) -> None:
    documented = [of_sync, *(each for name, each in vars(of_sync).items() if not name.startswith("_"))]
    words = " ".join(each.__doc__ or "" for each in documented)
    for word in ("async ", "await", "task", "event loop"):
        assert word not in words


def test_every_exported_name_exists() -> None:
    for name in duebus.__all__:
        assert hasattr(duebus, name), name
    assert list(duebus.__all__) == sorted(duebus.__all__)


def test_the_version_is_that_of_the_distribution_and_unknown_names_are_refused() -> None:
    assert duebus.__version__ == version("duebus")
    with pytest.raises(AttributeError, match="has no attribute 'no_such_name'"):
        _ = duebus.no_such_name
