"""The server's settings: from flags, ``DUEBUS_*`` environment variables or a TOML file, in that order."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NoReturn

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_settings import (
    BaseSettings,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from duebus_server.domain.clock import DAY, HOUR, MILLISECOND, MINUTE, SECOND
from duebus_server.domain.limits import (
    MAX_BACKOFF_US,
    MAX_DEDUPE_US,
    MAX_DRAIN_US,
    MAX_GRACE_US,
    MAX_LEASE_US,
    MAX_QUEUED,
    MAX_RETENTION_US,
    MAX_RETRIES,
    MIN_BACKOFF_US,
    MIN_LEASE_US,
)
from duebus_server.domain.model import EngineName
from duebus_server.domain.retry import RetryPolicy
from duebus_server.domain.views import TopicConfig

if TYPE_CHECKING:
    from collections.abc import Callable

ENV_PREFIX = "DUEBUS_"

_UNITS_US = {"us": 1, "ms": MILLISECOND, "s": SECOND, "m": MINUTE, "h": HOUR, "d": DAY}
_UNITS_BYTES = {"": 1, "B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}
_SIZE = re.compile(r"(\d{1,15})\s*(|B|KiB|MiB|GiB)", re.ASCII)
_DURATION = re.compile(r"(\d{1,15}(?:\.\d{1,6})?)\s*(us|ms|s|m|h|d)", re.ASCII)


class SettingsError(Exception):
    """A setting is wrong. Its text is one line that names the setting."""


def parse_duration(text: object) -> int:
    """``500ms``, ``30s``, ``5m``, ``2h``, ``1d`` as microseconds.

    Raises:
        ValueError: it is not of that form.
    """
    match = _DURATION.fullmatch(text.strip()) if isinstance(text, str) else None
    if match is None:
        raise ValueError(f"{text!r} is not a duration such as 500ms, 30s or 5m")
    return round(float(match[1]) * _UNITS_US[match[2]])


def _duration_us(value: object) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) else parse_duration(value)


def parse_size(text: object) -> int:
    """``16MiB``, ``512KiB``, or a number of bytes, as bytes.

    Raises:
        ValueError: it is not of that form.
    """
    if isinstance(text, int) and not isinstance(text, bool):
        return text
    match = _SIZE.fullmatch(text.strip()) if isinstance(text, str) else None
    if match is None:
        raise ValueError(f"{text!r} is not a size such as 512KiB or 16MiB")
    return int(match[1]) * _UNITS_BYTES[match[2]]


def format_size(size: int) -> str:
    """Bytes in the largest unit that leaves a whole number."""
    unit = next(name for name, bytes_ in reversed(_UNITS_BYTES.items()) if name and size % bytes_ == 0)
    return f"{size // _UNITS_BYTES[unit]}{unit}"


def _parse_list(value: object) -> object:
    """``local,redis`` from the environment as a list."""
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


def format_duration(duration_us: int) -> str:
    """Microseconds in the largest unit that leaves a whole number."""
    if not duration_us:
        return "0s"
    unit = next(name for name, size in reversed(_UNITS_US.items()) if duration_us % size == 0)
    return f"{duration_us // _UNITS_US[unit]}{unit}"


def _within(low: int, high: int, written: Callable[[int], str] = format_duration) -> AfterValidator:
    """Bounds for a duration or a size, with a message that speaks the unit of the setting."""

    def check(value: int) -> int:
        if not low <= value <= high:
            raise ValueError(f"must be from {written(low)} to {written(high)}")
        return value

    return AfterValidator(check)


class _TomlSource(TomlConfigSettingsSource):
    """The file, with numbers as text, as from the environment: a bare number is no duration there either."""

    def __call__(self) -> dict[str, Any]:
        return {name: str(each) if isinstance(each, int | float) else each for name, each in super().__call__().items()}


Size = Annotated[int, BeforeValidator(parse_size)]
"""Bytes; written as ``512KiB``, ``16MiB``."""

DurationUs = Annotated[int, BeforeValidator(_duration_us)]
"""Microseconds; written as ``500ms``, ``30s``, ``5m``."""


class Settings(BaseSettings):
    """Everything that can be set. The names are those of the flags, with ``_`` for ``-``.

    Attributes:
        listen: HOST:PORT; port 0 picks a free one.
        engine: the engines to run; the first is the default.
        redis_url: where Redis is, for the redis engine.
        redis_username: instead of the one in ``redis_url``.
        redis_password: instead of the one in ``redis_url``; from the environment or a file rather than a flag.
        redis_password_file: a file that holds the password and nothing else.
        min_replicas_ack: a dispatch is answered when so many Redis replicas have it too (Redis's WAIT).
        namespace: the prefix of all Redis keys.
        max_queued: events a topic may hold on the local engine, dead letters not counted; 0 is unlimited.
        processes: server processes to run; the local engine allows one.
        tls_cert: the server's certificate in PEM, with those between it and the authority; with ``tls_key``: TLS.
        tls_client_ca: clients must show a certificate that this authority has signed: mutual TLS.
        health_listen: HOST:PORT of the health service alone, without TLS.
        http_listen: HOST:PORT of ``/healthz``, ``/readyz`` and ``/metrics``.
        tokens_file: the digests of bearer tokens, and whose they are.
        jwks: a file or URL with the keys that sign JSON Web Tokens; they must be meant for ``jwt_audience``.
        acl_file: who may do what on which topics.
        audit_log: where admin actions are recorded; None: in the log.
        max_streams_per_connection: of Subscribe.
        max_message_size: of a request, in bytes.
        metrics_topics: so many topics have metrics of their own; those of the others are put together.
        sweep_interval: how often the safety net looks for expired leases, in microseconds.
        config: a TOML file with any of these settings.
    """

    model_config = SettingsConfigDict(env_prefix=ENV_PREFIX, extra="forbid", frozen=True)

    listen: str = "127.0.0.1:50051"
    engine: Annotated[tuple[EngineName, ...], NoDecode, BeforeValidator(_parse_list)] = (EngineName.LOCAL,)
    redis_url: str = "redis://127.0.0.1:6379/0"
    redis_username: str | None = None
    redis_password: SecretStr | None = None
    redis_password_file: Path | None = None
    min_replicas_ack: int = Field(0, ge=0, le=100)
    namespace: str = Field("duebus", pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$")
    processes: int = Field(1, ge=1, le=64)
    max_queued: int = Field(100_000, ge=0, le=MAX_QUEUED)
    max_retries: int = Field(3, ge=0, le=MAX_RETRIES)
    backoff_initial: Annotated[DurationUs, _within(MIN_BACKOFF_US, MAX_BACKOFF_US)] = SECOND // 2
    backoff_max: Annotated[DurationUs, _within(MIN_BACKOFF_US, MAX_BACKOFF_US)] = 5 * MINUTE
    lease: Annotated[DurationUs, _within(MIN_LEASE_US, MAX_LEASE_US)] = 30 * SECOND
    disconnect_grace: Annotated[DurationUs, _within(0, MAX_GRACE_US)] = SECOND
    dedupe_window: Annotated[DurationUs, _within(0, MAX_DEDUPE_US)] = 10 * MINUTE
    dead_letter_retention: Annotated[DurationUs, _within(0, MAX_RETENTION_US)] = 0
    sweep_interval: Annotated[DurationUs, _within(10 * MILLISECOND, MINUTE)] = SECOND
    drain_timeout: Annotated[DurationUs, _within(0, MAX_DRAIN_US)] = 30 * SECOND
    tls_cert: Path | None = None
    tls_key: Path | None = None
    tls_client_ca: Path | None = None
    tokens_file: Path | None = None
    jwks: str | None = None
    jwt_issuer: str | None = None
    jwt_audience: str | None = None
    acl_file: Path | None = None
    audit_log: Path | None = None
    max_streams_per_connection: int = Field(1_000, ge=1, le=100_000)
    max_message_size: Annotated[Size, _within(64 << 10, 1 << 30, format_size)] = 16 << 20
    health_listen: str | None = None
    http_listen: str | None = None
    metrics_topics: int = Field(200, ge=0, le=10_000)
    log_format: Literal["json", "console"] = "console"
    config: Path | None = None

    @field_validator("listen", "health_listen", "http_listen")
    @classmethod
    def _listen_is_an_address(cls, listen: str | None) -> str | None:
        if listen is None:
            return None
        host, _, port = listen.rpartition(":")
        if not host or not port.isdecimal() or int(port) > 65535:  # noqa: PLR2004  # the largest port
            raise ValueError(f"{listen!r} is not HOST:PORT")
        return listen

    @field_validator("engine")
    @classmethod
    def _engines_are_named_once(cls, engine: tuple[EngineName, ...]) -> tuple[EngineName, ...]:
        if not engine:
            raise ValueError("at least one engine is required")
        if len(set(engine)) < len(engine):
            raise ValueError("an engine is named twice")
        return engine

    @model_validator(mode="after")
    def _settings_fit_together(self) -> Settings:
        if self.backoff_max < self.backoff_initial:
            raise ValueError("backoff_max: is less than backoff_initial")
        if self.processes > 1 and EngineName.LOCAL in self.engine:
            raise ValueError("processes: the local engine lives in one process")
        return self

    @model_validator(mode="after")
    def _security_fits_together(self) -> Settings:
        if (self.tls_cert is None) != (self.tls_key is None):
            given, missing = ("tls_cert", "tls_key") if self.tls_cert else ("tls_key", "tls_cert")
            raise ValueError(f"{missing}: is required with {given}")
        if self.tls_client_ca and not self.tls_cert:
            raise ValueError("tls_client_ca: needs tls_cert and tls_key")
        if self.jwks and not self.jwt_audience:
            raise ValueError("jwt_audience: is required with jwks, or tokens for other services would do")
        if (self.jwt_issuer or self.jwt_audience) and not self.jwks:
            raise ValueError(f"{'jwt_issuer' if self.jwt_issuer else 'jwt_audience'}: needs jwks")
        if self.acl_file and not (self.tokens_file or self.jwks or self.tls_client_ca):
            raise ValueError("acl_file: needs tokens_file, jwks or tls_client_ca, which tell who calls")
        return self

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003  # the library's signature
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003  # the library's signature
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Flags, then environment, then file."""
        toml = _TomlSource(settings_cls, toml_file=_toml_path(init_settings, env_settings))
        return init_settings, env_settings, toml

    def read_redis_password(self) -> str | None:
        """The password, from wherever it was set; None where it was not.

        Raises:
            SettingsError: the file can't be read.
        """
        if self.redis_password is not None:
            return self.redis_password.get_secret_value()
        if self.redis_password_file is None:
            return None
        try:
            return self.redis_password_file.read_text().strip()
        except OSError as error:
            raise SettingsError(f"redis_password_file: {error.strerror}: {error.filename}") from error

    def topic_config(self, engine: EngineName) -> TopicConfig:
        """The settings of a topic that has none of its own."""
        return TopicConfig(
            RetryPolicy(self.max_retries, self.backoff_initial, self.backoff_max),
            lease_us=self.lease,
            max_queued=self.max_queued if engine is EngineName.LOCAL or "max_queued" in self.model_fields_set else 0,
            dead_letter_retention_us=self.dead_letter_retention,
            dedupe_window_us=self.dedupe_window,
        )


def load_settings(flags: dict[str, Any]) -> Settings:
    """The settings in force: ``flags`` (only those that were given) over the environment over the TOML file.

    Raises:
        SettingsError: one is wrong, unknown, or the file can't be read.
    """
    try:
        return Settings(**flags)
    except ValidationError as error:
        _raise_first(error)
    except (OSError, ValueError) as error:
        raise SettingsError(f"config: {error}") from error


def _toml_path(init: PydanticBaseSettingsSource, env: PydanticBaseSettingsSource) -> Path | None:
    """The file that a flag or the environment names.

    Raises:
        FileNotFoundError: there is none; a file that was asked for is never passed over in silence.
    """
    named = init().get("config") or env().get("config")
    if named and not Path(named).is_file():
        raise FileNotFoundError(f"no such file: {named}")
    return Path(named) if named else None


def _raise_first(error: ValidationError) -> NoReturn:
    """The first thing that is wrong, in one line."""
    first = error.errors(include_url=False)[0]
    where = ".".join(str(part) for part in first["loc"][:1])
    what = "no such setting" if first["type"] == "extra_forbidden" else str(first["msg"]).removeprefix("Value error, ")
    raise SettingsError(f"{where}: {what}" if where else what) from error
