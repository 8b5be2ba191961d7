"""Tokens of both clients: fixed ones, and those of a provider."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from duebus import Client, aio, errors
from unit.client.fake_bus import FakeBus

AWAY = OSError("the token service is away")


@pytest.fixture(params=["provider", "coroutine"])
async def asked(request: pytest.FixtureRequest, bus: FakeBus) -> AsyncIterator[aio.Client]:
    """A client whose tokens are numbered."""
    numbers = iter(range(1, 10))

    def provider() -> str:
        return f"token-{next(numbers)}"

    async def coroutine() -> str:
        await asyncio.sleep(0)
        return provider()

    token: Callable[[], str | Awaitable[str]] = provider if request.param == "provider" else coroutine
    async with aio.Client(bus.target, timeout=10, token=token) as client:
        yield client


def sent(bus: FakeBus, rpc: str) -> list[str | bytes]:
    return [each["authorization"] for each in bus.metadata[rpc]]


async def test_a_token_is_asked_for_before_each_call_and_each_stream(bus: FakeBus, asked: aio.Client) -> None:
    await asked.ack("a")
    async with asked.subscribe("orders"):
        await asked.ack("b")

    assert (sent(bus, "Ack"), sent(bus, "Subscribe")) == (["Bearer token-1", "Bearer token-3"], ["Bearer token-2"])


def test_the_sync_client_asks_for_a_token_before_each_call_and_each_stream(bus: FakeBus) -> None:
    tokens = iter(["token-1", "token-2", "token-3"])
    with Client(bus.target, timeout=10, token=lambda: next(tokens)) as client:
        client.ack("a")
        with client.subscribe("orders"):
            client.ack("b")

    assert (sent(bus, "Ack"), sent(bus, "Subscribe")) == (["Bearer token-1", "Bearer token-3"], ["Bearer token-2"])


@pytest.mark.parametrize("first", [AWAY, TimeoutError("slow"), "", None])
async def test_a_call_is_repeated_while_there_is_no_token(bus: FakeBus, first: object) -> None:
    answers = iter([first, "late"])

    def provider() -> str:
        if isinstance(answer := next(answers), Exception):
            raise answer
        return answer  # type: ignore[return-value]  # as a function without annotations may

    async with aio.Client(bus.target, timeout=10, token=provider) as client:
        await client.dispatch("orders", "x")

    assert sent(bus, "Dispatch") == ["Bearer late"]


async def test_a_call_without_a_token_is_unavailable_and_says_why(bus: FakeBus) -> None:
    def away() -> str:
        raise AWAY

    async with aio.Client(bus.target, timeout=0.5, token=away) as client:
        with pytest.raises(errors.Unavailable, match="no token: the token service is away") as raised:
            await client.dispatch("orders", "x")
        with pytest.raises(errors.Unavailable, match="no token: the token service is away"):
            await client.subscribe("orders").__aenter__()

    assert raised.value.__cause__ is AWAY


async def test_a_call_waits_for_a_token_until_its_timeout(bus: FakeBus) -> None:
    async def hang() -> str:
        await asyncio.Event().wait()
        raise AssertionError

    async with aio.Client(bus.target, timeout=0.5, token=hang) as client:
        with pytest.raises(errors.DeadlineExceeded):
            await client.dispatch("orders", "x")
        with pytest.raises(errors.DeadlineExceeded):
            await client.subscribe("orders").__aenter__()


async def test_the_line_break_at_the_end_of_a_token_is_not_sent(bus: FakeBus) -> None:
    for token in ("secret\n", lambda: "secret\n"):
        async with aio.Client(bus.target, timeout=10, token=token) as client:
            await client.ack("a")
        with Client(bus.target, timeout=10, token=token) as sync_client:
            sync_client.ack("a")

    assert set(sent(bus, "Ack")) == {"Bearer secret"}


async def test_an_empty_token_is_none(bus: FakeBus) -> None:
    async with aio.Client(bus.target, timeout=10, token="") as client:
        await client.ack("a")
    assert "authorization" not in bus.metadata["Ack"][0]


async def test_a_token_that_can_not_be_sent_is_an_error_at_once(bus: FakeBus) -> None:
    for token in ("line\nbreak", " "):
        with pytest.raises(errors.InvalidArgument, match="token"):
            aio.Client(bus.target, token=token)
    async with aio.Client(bus.target, timeout=10, token=lambda: "line\nbreak") as client:
        with pytest.raises(errors.Unauthenticated, match="printable"):
            await client.dispatch("orders", "x")
