"""The two clients are one: the same methods, arguments and words."""

import inspect
from importlib.metadata import version

import duebus
import duebus.aio
import duebus.client
import pytest
from duebus._aio.subscription import Subscription as AioSubscription
from duebus._sync.subscription import Subscription as SyncSubscription

PAIRS = [
    (duebus.aio.Client, duebus.Client),
    (duebus.aio.AdminClient, duebus.client.AdminClient),
    (AioSubscription, SyncSubscription),
]
# What has to differ: the kinds of channel and of sleep.
OWN_WORDS = {"channel", "sleep", "self"}


def methods(client: type) -> set[str]:
    return {name for name in vars(client) if not name.startswith("_")}


def parameters(client: type, method: str) -> dict[str, inspect.Parameter]:
    return {
        name: each
        for name, each in inspect.signature(getattr(client, method)).parameters.items()
        if name not in OWN_WORDS
    }


@pytest.mark.parametrize(("aio", "sync"), PAIRS)
def test_both_have_the_same_methods_and_arguments(aio: type, sync: type) -> None:
    assert methods(aio) == methods(sync)
    for name in [each for each in methods(aio) if callable(getattr(aio, each))] + ["__init__"]:
        ours, theirs = parameters(aio, name), parameters(sync, name)
        assert list(ours) == list(theirs), name
        for each in ours:
            assert ours[each].default == theirs[each].default, f"{name}({each})"
            assert ours[each].kind == theirs[each].kind, f"{name}({each})"


@pytest.mark.parametrize(("aio", "sync"), PAIRS)
def test_both_say_the_same_about_them(aio: type, sync: type) -> None:
    for name in methods(aio):
        ours, theirs = getattr(aio, name).__doc__, getattr(sync, name).__doc__
        assert ours, name
        assert ours.replace("async with", "with") == theirs, name


def test_everything_that_is_exported_is_there() -> None:
    for name in duebus.__all__:
        assert hasattr(duebus, name), name
    assert list(duebus.__all__) == sorted(duebus.__all__)


def test_the_version_is_that_of_the_distribution() -> None:
    assert duebus.__version__ == version("duebus")
    with pytest.raises(AttributeError, match="has no attribute 'no_such_name'"):
        _ = duebus.no_such_name
