"""Limits and key policies on the command line, as text such as `max-in-flight=5,rate=10/1s`."""

from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from typing import Any

import typer

from duebus._core.limits import KeyPolicy, Limits, OnDead, Rate
from duebus.cli.spans import format_span, parse_span

NONE = "none"
"""Removes what was set."""


def parse_limits(text: str) -> Limits:
    """Limits.

    Raises:
        typer.BadParameter: a part can't be read.
    """
    parts = _parts(text, {"max-in-flight": _number, "rate": _rate, "burst": _number})
    return Limits(max_in_flight=parts.pop("max-in-flight", 0), rate=_with_burst(parts))


def parse_key_policy(text: str) -> KeyPolicy:
    """A key policy. Raises as `parse_limits`."""
    readers = {"max-in-flight": _number, "rate": _rate, "burst": _number, "on-dead": _on_dead, "max-blocked": _number}
    parts = _parts(text, readers)
    return KeyPolicy(
        max_in_flight=parts.get("max-in-flight"),
        rate=_with_burst(parts),
        on_dead=parts.get("on-dead", OnDead.SKIP),
        max_blocked=parts.get("max-blocked", 0),
    )


def format_limits(limits: Limits | None) -> str:
    """As `parse_limits` reads them."""
    if limits is None:
        return NONE
    parts = [f"max-in-flight={limits.max_in_flight}"] if limits.max_in_flight else []
    return ",".join([*parts, *_rate_parts(limits.rate)])


def format_key_policy(policy: KeyPolicy | None) -> str:
    """As `parse_key_policy` reads it."""
    policy = policy or KeyPolicy()
    parts = [f"max-in-flight={1 if policy.max_in_flight is None else policy.max_in_flight}"]
    parts += _rate_parts(policy.rate)
    if policy.on_dead is not OnDead.SKIP:
        parts.append(f"on-dead={policy.on_dead}")
    if policy.max_blocked:
        parts.append(f"max-blocked={policy.max_blocked}")
    return ",".join(parts)


def _rate_parts(rate: Rate | None) -> Iterator[str]:
    if rate is not None:
        yield f"rate={rate.events}/{format_span(_span(rate))}"
        if rate.burst:
            yield f"burst={rate.burst}"


def _span(rate: Rate) -> timedelta:
    return rate.per if isinstance(rate.per, timedelta) else timedelta(seconds=rate.per)


def _parts(text: str, readers: Mapping[str, Callable[[str], Any]]) -> dict[str, Any]:
    """The values by name; none for NONE."""
    if text == NONE:
        return {}
    found: dict[str, Any] = {}
    for part in text.split(","):
        name, is_given, value = part.partition("=")
        if name not in readers or not is_given:
            raise typer.BadParameter(f"{part!r} is not NAME=VALUE with a name of {', '.join(readers)}; or {NONE!r}")
        try:
            found[name] = readers[name](value)
        except ValueError as error:
            raise typer.BadParameter(f"{part!r}: {error}") from None
    return found


def _with_burst(parts: dict[str, Any]) -> Rate | None:
    rate: Rate | None = parts.get("rate")
    burst: int | None = parts.get("burst")
    if rate is None:
        if burst is not None:
            raise typer.BadParameter("a burst needs a rate")
        return None
    return Rate(events=rate.events, per=rate.per, burst=burst or 0)


def _number(text: str) -> int:
    if not text.isascii() or not text.isdecimal():
        raise ValueError("expected a number")
    return int(text)


def _rate(text: str) -> Rate:
    events, _, per = text.partition("/")
    return Rate(events=_number(events), per=parse_span(per))


def _on_dead(text: str) -> OnDead:
    if text not in (OnDead.SKIP, OnDead.HOLD):
        raise ValueError("expected skip or hold")
    return OnDead(text)
