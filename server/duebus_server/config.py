"""The server's settings: from flags, ``DUEBUS_*`` environment variables or a TOML file, in that order."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple, NoReturn

from annotated_types import Ge, Le
from pydantic import (
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

from duebus_server.domain.clock import MILLISECOND, MINUTE, SECOND
from duebus_server.domain.limits import (
    MAX_BACKOFF_US,
    MAX_DEDUPE_US,
    MAX_DRAIN_US,
    MAX_GRACE_US,
    MAX_LEASE_US,
    MAX_QUEUED,
    MAX_RETENTION_US,
    MAX_RETRIES,
    MAX_STREAM_AGE_US,
    MIN_BACKOFF_US,
    MIN_LEASE_US,
)
from duebus_server.domain.model import EngineName
from duebus_server.domain.retry import RetryPolicy
from duebus_server.domain.units import format_duration, format_size, parse_duration, parse_size
from duebus_server.domain.views import TopicConfig

if TYPE_CHECKING:
    from collections.abc import Callable

    from pydantic_core import ErrorDetails

ENV_PREFIX = "DUEBUS_"

MAX_QUEUED_WITH_JOURNAL = 1_000_000
MAX_QUEUED_BYTES_WITH_JOURNAL = 16 << 30
"""How many events a topic of the local engine may hold by default, if it has a data directory, and how many bytes the
bodies of all its events may take up."""

_PORT = re.compile(r"\d{1,5}", re.ASCII)


class SettingsError(Exception):
    """A setting is wrong. The text is one line that names the setting.

    Attributes:
        setting: its name; empty if several contradict each other.
        reason: the error, in words.
    """

    def __init__(self, setting: str, reason: str) -> None:
        super().__init__(f"{setting}: {reason}" if setting else reason)
        self.setting = setting
        self.reason = reason


class Notation(NamedTuple):
    """How people write a setting.

    Attributes:
        metavar: The placeholder for its value in the help.
        text: A value as text.
    """

    metavar: str
    text: Callable[[Any], str] = str


def _duration(value: object) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) else parse_duration(value)


def _size(value: object) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) else parse_size(value)


def _parse_list(value: object) -> object:
    """``local,redis`` from the environment as a list."""
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


Number = Annotated[int, Notation("N")]
DurationUs = Annotated[int, BeforeValidator(_duration), Notation("DURATION", format_duration)]
"""Microseconds."""
Size = Annotated[int, BeforeValidator(_size), Notation("SIZE", format_size)]
"""Bytes."""
Text = Annotated[str | None, Notation("TEXT")]
File = Annotated[Path | None, Notation("FILE")]
Directory = Annotated[Path | None, Notation("DIR")]
Address = Annotated[str | None, Notation("HOST:PORT")]


class _TomlSource(TomlConfigSettingsSource):
    """The TOML file with its numbers as text, as from the environment: a bare number is not a duration.

    Raises:
        SettingsError: the file can't be read, or names another one.
    """

    def __init__(self, settings: type[BaseSettings], file: Path | None) -> None:
        try:
            super().__init__(settings, toml_file=file)
        except OSError as error:
            raise SettingsError("config", f"{file}: {(error.strerror or str(error)).lower()}") from error
        except UnicodeDecodeError as error:
            raise SettingsError("config", f"{file} is not UTF-8 text") from error
        except ValueError as error:
            raise SettingsError("config", f"{file} is not TOML: {error}") from error
        if "config" in self.toml_data:
            raise SettingsError("config", "can't be set in a file")

    def __call__(self) -> dict[str, Any]:
        return {name: str(each) if isinstance(each, int | float) else each for name, each in super().__call__().items()}


class Settings(BaseSettings):
    """Every setting, with its default, bounds and meaning.

    The flags and ``docs/reference/settings.md`` are generated from this class, and the chart's schema is checked
    against it. A flag has ``-`` where the name has ``_``. Durations are in microseconds, sizes in bytes.
    """

    model_config = SettingsConfigDict(env_prefix=ENV_PREFIX, extra="forbid", frozen=True)

    listen: Annotated[str, Notation("HOST:PORT")] = Field(
        "127.0.0.1:50051", description="Where to listen. Port 0 picks a free port; the ready line shows it."
    )
    engine: Annotated[
        tuple[EngineName, ...], NoDecode, BeforeValidator(_parse_list), Notation(" or ".join(EngineName), ",".join)
    ] = Field((EngineName.LOCAL,), description="The engines to run, one flag each; the first is the default.")
    data_dir: Directory = Field(
        None,
        description="The directory in which the local engine keeps its events. Without one they are in memory, and "
        "gone when the process ends. One server uses it at a time.",
    )
    fsync: Annotated[Literal["always", "everysec"], Notation("always or everysec")] = Field(
        "always",
        description="When the local engine answers: always means once it is on the disk; with everysec a crash of the "
        "host loses up to a second, and a crash of the process nothing.",
    )
    redis_url: Annotated[str, Notation("URL")] = Field(
        "redis://127.0.0.1:6379/0",
        description="The URL of Redis: redis://, rediss://, unix://, redis+sentinel:// or redis+cluster://.",
    )
    redis_username: Text = Field(None, description="The user name, in place of the one in the URL.")
    redis_password: Annotated[SecretStr | None, Notation("TEXT")] = Field(
        None,
        description="The password, in place of the one in the URL. Other users of the machine can see flags: prefer "
        "the environment or a file.",
    )
    redis_password_file: File = Field(
        None, description="A file that holds the password and nothing else; read again for each new connection."
    )
    min_replicas_ack: Number = Field(
        0, ge=0, le=100, description="How many Redis replicas must have a dispatch before it is answered."
    )
    namespace: Annotated[str, Notation("NAME")] = Field(
        "duebus",
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$",
        description="The prefix of all keys in Redis. Servers with the same namespace share one bus.",
    )
    processes: Number = Field(
        1,
        ge=1,
        le=64,
        description="How many server processes share the addresses, for the redis engine. One that dies is restarted. "
        "On that of --http-listen, their parent answers for all of them.",
    )
    max_queued: Number = Field(
        100_000,
        ge=0,
        le=MAX_QUEUED,
        description="How many events a topic may hold, not counting dead letters. 0 is unlimited, which is the "
        "default for redis; with --data-dir, the default for local is 1000000.",
    )
    max_schedules: Number = Field(10_000, ge=0, le=1_000_000, description="How many schedules an engine may have.")
    max_queued_bytes: Size = Field(
        1 << 30,
        ge=0,
        le=1 << 44,
        description="How many bytes the bodies of all events of the local engine may take up, including dead letters. "
        "0B is unlimited; with --data-dir, the default is 16GiB.",
    )
    max_retries: Number = Field(
        3,
        ge=0,
        le=MAX_RETRIES,
        description="How many times an event is retried before it is dead, unless the event sets its own number.",
    )
    backoff_initial: DurationUs = Field(
        SECOND // 2,
        ge=MIN_BACKOFF_US,
        le=MAX_BACKOFF_US,
        description="The backoff before the first retry. It doubles each time, and varies by 20 % at random.",
    )
    backoff_max: DurationUs = Field(
        5 * MINUTE, ge=MIN_BACKOFF_US, le=MAX_BACKOFF_US, description="The longest backoff."
    )
    lease: DurationUs = Field(
        30 * SECOND,
        ge=MIN_LEASE_US,
        le=MAX_LEASE_US,
        description="How long a delivery is leased, unless the subscriber says otherwise.",
    )
    disconnect_grace: DurationUs = Field(
        SECOND,
        ge=0,
        le=MAX_GRACE_US,
        description="How long leases last after their stream breaks, unless the subscriber says otherwise.",
    )
    dedupe_window: DurationUs = Field(
        10 * MINUTE,
        ge=0,
        le=MAX_DEDUPE_US,
        description="How long request ids, and the ids of events that are gone, are remembered.",
    )
    dead_letter_retention: DurationUs = Field(
        0, ge=0, le=MAX_RETENTION_US, description="How long dead letters are kept. 0s keeps them forever."
    )
    sweep_interval: DurationUs = Field(
        SECOND,
        ge=10 * MILLISECOND,
        le=MINUTE,
        description="How often the server sweeps for expired leases, as a safety net. Deliveries do not wait for it.",
    )
    drain_timeout: DurationUs = Field(
        30 * SECOND,
        ge=0,
        le=MAX_DRAIN_US,
        description="How long a stop waits for workers to settle their deliveries.",
    )
    max_stream_age: DurationUs = Field(
        0,
        ge=0,
        le=MAX_STREAM_AGE_US,
        description="How long a subscription lasts, give or take a tenth, before its worker is asked to "
        "subscribe again, on any server, so that added servers get work. 0s is forever; otherwise at least 1s.",
    )
    tls_cert: File = Field(
        None,
        description="The server's certificate in PEM, with intermediate ones. Turns on TLS. Reread when it changes.",
    )
    tls_key: File = Field(None, description="The private key of the certificate.")
    tls_client_ca: File = Field(
        None, description="Mutual TLS: clients must present a certificate signed by one of these authorities."
    )
    tokens_file: File = Field(
        None,
        description="Who may connect: lines of IDENTITY sha256:HEX, as duebus token new prints them. Reread when it "
        "changes.",
    )
    jwks: Annotated[str | None, Notation("FILE or URL")] = Field(
        None, description="The public keys that JSON Web Tokens are checked with."
    )
    jwt_issuer: Text = Field(None, description="The issuer that JSON Web Tokens must come from.")
    jwt_audience: Text = Field(
        None, description="The audience that JSON Web Tokens must be meant for; required with --jwks."
    )
    acl_file: File = Field(
        None,
        description="Rules in TOML: who may do what on which topics. What no rule allows is denied. Reread when it "
        "changes.",
    )
    audit_log: File = Field(
        None, description="The file that records admin actions and stops. Without it they go to the log."
    )
    max_streams_per_connection: Number = Field(
        1_000, ge=1, le=100_000, description="How many subscriptions one connection may have open."
    )
    max_message_size: Size = Field(16 << 20, ge=64 << 10, le=1 << 30, description="The largest request.")
    health_listen: Address = Field(
        None, description="Where to serve only the gRPC health service, without TLS, for probes."
    )
    http_listen: Address = Field(None, description="Where to serve /healthz, /readyz and /metrics over HTTP.")
    web_listen: Address = Field(
        None, description="Where to serve the bus over HTTP, as JSON, with the same TLS, tokens and rules as over gRPC."
    )
    metrics_topics: Number = Field(
        200,
        ge=0,
        le=10_000,
        description="How many topics have their own metrics: those in trouble. The rest are counted together as other.",
    )
    log_format: Annotated[Literal["json", "console"], Notation("json or console")] = Field(
        "console", description="The format of the log on standard error."
    )
    log_level: Annotated[Literal["debug", "info", "warning", "error"], Notation("debug, info, warning or error")] = (
        Field(
            "info",
            description="The log has lines of this level and above. SIGUSR1 switches to debug and back.",
        )
    )
    config: File = Field(None, description="A TOML file with any of these settings.")

    @field_validator("health_listen", "http_listen", "web_listen", mode="before")
    @classmethod
    def _empty_is_nowhere(cls, listen: str | None) -> str | None:
        return listen or None

    @field_validator("listen", "health_listen", "http_listen", "web_listen")
    @classmethod
    def _listen_is_an_address(cls, listen: str | None) -> str | None:
        if listen is None:
            return None
        host, _, port = listen.rpartition(":")
        if not host or not _PORT.fullmatch(port) or int(port) > 65535:  # noqa: PLR2004  # the largest port
            raise ValueError(f"{listen!r} is not HOST:PORT")
        return listen

    @field_validator("engine")
    @classmethod
    def _engines_are_named_once(cls, engine: tuple[EngineName, ...]) -> tuple[EngineName, ...]:
        if not engine:
            raise ValueError("at least one engine is required")
        if len(set(engine)) < len(engine):
            raise ValueError("the same engine is named twice")
        return engine

    @model_validator(mode="after")
    def _settings_fit_together(self) -> Settings:
        if self.backoff_max < self.backoff_initial:
            raise ValueError("backoff_max: must not be less than backoff_initial")
        if 0 < self.max_stream_age < SECOND:
            raise ValueError("max_stream_age: must be 0s or at least 1s")
        if self.processes > 1 and EngineName.LOCAL in self.engine:
            raise ValueError("processes: the local engine runs in one process only")
        if self.data_dir is not None and EngineName.LOCAL not in self.engine:
            raise ValueError("data_dir: is a setting of the local engine, which is not among the engines")
        if "max_queued_bytes" in self.model_fields_set and EngineName.LOCAL not in self.engine:
            raise ValueError("max_queued_bytes: is a setting of the local engine, which is not among the engines")
        return self

    @model_validator(mode="after")
    def _security_fits_together(self) -> Settings:
        if (self.tls_cert is None) != (self.tls_key is None):
            given, missing = ("tls_cert", "tls_key") if self.tls_cert else ("tls_key", "tls_cert")
            raise ValueError(f"{missing}: is required with {given}")
        if self.tls_client_ca and not self.tls_cert:
            raise ValueError("tls_client_ca: requires tls_cert and tls_key")
        if self.jwks and not self.jwt_audience:
            raise ValueError("jwt_audience: is required with jwks; otherwise tokens for other services would pass")
        if (self.jwt_issuer or self.jwt_audience) and not self.jwks:
            raise ValueError(f"{'jwt_issuer' if self.jwt_issuer else 'jwt_audience'}: requires jwks")
        if self.acl_file and not (self.tokens_file or self.jwks or self.tls_client_ca):
            raise ValueError("acl_file: requires tokens_file, jwks or tls_client_ca, which identify callers")
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
        return init_settings, env_settings, _TomlSource(settings_cls, _toml_path(init_settings, env_settings))

    def topic_config(self, engine: EngineName) -> TopicConfig:
        """The settings of a topic that was never configured."""
        return TopicConfig(
            RetryPolicy(self.max_retries, self.backoff_initial, self.backoff_max),
            lease_us=self.lease,
            max_queued=self.max_queued if "max_queued" in self.model_fields_set else self._default_max_queued(engine),
            dead_letter_retention_us=self.dead_letter_retention,
            dedupe_window_us=self.dedupe_window,
        )

    @property
    def local_max_queued_bytes(self) -> int:
        """How many bytes the bodies of all events of the local engine may take up; 0 is unlimited."""
        is_chosen = "max_queued_bytes" in self.model_fields_set or self.data_dir is None
        return self.max_queued_bytes if is_chosen else MAX_QUEUED_BYTES_WITH_JOURNAL

    def _default_max_queued(self, engine: EngineName) -> int:
        if engine is not EngineName.LOCAL:
            return 0
        return self.max_queued if self.data_dir is None else MAX_QUEUED_WITH_JOURNAL


def load_settings(flags: dict[str, Any]) -> Settings:
    """The settings in force: ``flags`` (only those that were given) over the environment over the TOML file.

    Raises:
        SettingsError: one is wrong or unknown, or the file can't be read.
    """
    try:
        return Settings(**flags)
    except ValidationError as error:
        _raise_first(error)


def _toml_path(init: PydanticBaseSettingsSource, env: PydanticBaseSettingsSource) -> Path | None:
    """The file that a flag or the environment names.

    Raises:
        SettingsError: there is none.
    """
    named = init().get("config") or env().get("config")
    if not named:
        return None
    if not (path := Path(named)).is_file():
        raise SettingsError("config", f"{named} is not a file" if path.exists() else f"no such file: {named}")
    return path


def _raise_first(error: ValidationError) -> NoReturn:
    """Raise the first error, in one line."""
    first = error.errors(include_url=False)[0]
    setting = ".".join(str(part) for part in first["loc"][:1])
    raise SettingsError(setting, _reason(setting, first)) from error


def _reason(setting: str, error: ErrorDetails) -> str:
    """What is wrong with a setting. Values of texts are not repeated, since one is a password."""
    match error["type"]:
        case "extra_forbidden":
            reason = "no such setting"
        case "greater_than_equal" | "less_than_equal" | "int_parsing_size":
            reason = f"must be from {allowed(setting)}"
        case "int_parsing" | "int_type":
            reason = f"{error['input']!r} is not a whole number"
        case "literal_error" | "enum":
            reason = f"{error['input']!r} is not {allowed(setting)}"
        case "string_pattern_mismatch":
            reason = f"must match {error['ctx']['pattern'].strip('^$')}"
        case "string_type" | "path_type":
            reason = "must be text"
        case _:
            reason = error["msg"].removeprefix("Value error, ")
    return reason


def notation(name: str) -> Notation:
    """How people write a setting."""
    (found,) = (each for each in Settings.model_fields[name].metadata if isinstance(each, Notation))
    return found


def default(name: str) -> str:
    """The default of a setting, as people write it; empty if it has none."""
    value = Settings.model_fields[name].default
    return "" if value is None else notation(name).text(value)


def allowed(name: str) -> str:
    """What a setting may be: its bounds, or else the placeholder of its value."""
    bounds = [each for each in Settings.model_fields[name].metadata if isinstance(each, Ge | Le)]
    text = notation(name).text
    return " to ".join(text(each.ge if isinstance(each, Ge) else each.le) for each in bounds) or notation(name).metavar
