"""Makes the parts of a server from its settings."""

from __future__ import annotations

from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

from duebus_server.config import SettingsError
from duebus_server.domain.model import EngineName
from duebus_server.engine.local import LocalEngine
from duebus_server.engine.local.journal import Fsync, Journal
from duebus_server.engine.redis import (
    Credentials,
    PartitionedEngine,
    PasswordFileError,
    RedisUrlError,
    make_redis_engine,
)
from duebus_server.ops.metrics import Metrics, untraced
from duebus_server.security.access import Access
from duebus_server.security.acl import read_acl
from duebus_server.security.audit import audit_to_file, audit_to_log
from duebus_server.security.certificates import CertificateFiles, read_certificates
from duebus_server.security.errors import BadFileError
from duebus_server.security.jwts import make_jwts
from duebus_server.security.reloading import Reloading
from duebus_server.security.token_file import read_tokens

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from duebus_server.config import Settings
    from duebus_server.domain.clock import Clock
    from duebus_server.domain.errors import DispatcherNotWorking
    from duebus_server.engine.base import Engine
    from duebus_server.ops.tracing import Tracing
    from duebus_server.security.audit import Audit
    from duebus_server.security.certificates import Certificates


def make_metrics(settings: Settings, tracing: Tracing | None) -> Metrics | None:
    """The metrics; None if neither HTTP nor tracing is on, because nobody would read them."""
    if settings.http_listen is None and tracing is None:
        return None
    return Metrics(settings.metrics_topics, tracing.engine_called if tracing else untraced)


def make_observers(metrics: Metrics | None, tracing: Tracing | None) -> dict[str, Any]:
    """What counts and traces calls, as keyword arguments."""
    observers: dict[str, Any] = {}
    if metrics is not None:
        observers["record"] = metrics.rpc
    if tracing is not None:
        observers["trace"] = tracing.call
    return observers


def make_access(settings: Settings) -> Access:
    """How callers are identified, by the settings.

    Raises:
        SettingsError: a file that a setting names can't be used.
    """
    tokens = acl = jwts = None
    with _naming("tokens_file"):
        if (path := settings.tokens_file) is not None:
            tokens = Reloading([path], partial(read_tokens, path))
    with _naming("acl_file"):
        if (path := settings.acl_file) is not None:
            acl = Reloading([path], partial(read_acl, path))
    with _naming("jwks"):
        if settings.jwks is not None and settings.jwt_audience is not None:
            jwts = make_jwts(settings.jwks, settings.jwt_audience, settings.jwt_issuer)
    return Access(tokens, jwts, acl, certificates=settings.tls_client_ca is not None)


def make_audit(settings: Settings) -> Audit:
    """Where admin actions are recorded.

    Raises:
        SettingsError: the file can't be written to.
    """
    if settings.audit_log is None:
        return audit_to_log
    with _naming("audit_log"):
        return audit_to_file(settings.audit_log)


def make_certificates(settings: Settings) -> Reloading[Certificates] | None:
    """The certificates for TLS; None if it is off.

    Raises:
        SettingsError: a file can't be used.
    """
    files = certificate_files(settings)
    if files is None:
        return None
    named = {files.certificate: "tls_cert", files.key: "tls_key", files.client_ca: "tls_client_ca"}
    try:
        return Reloading(files.paths, partial(read_certificates, files))
    except BadFileError as error:
        raise SettingsError(named[error.path], str(error)) from error


def certificate_files(settings: Settings) -> CertificateFiles | None:
    """The files for TLS; None if it is off."""
    if settings.tls_cert is None or settings.tls_key is None:
        return None
    return CertificateFiles(settings.tls_cert, settings.tls_key, settings.tls_client_ca)


@contextmanager
def _naming(setting: str) -> Iterator[None]:
    """Turn the error of a file into an error of the setting that names it."""
    try:
        yield
    except BadFileError as error:
        raise SettingsError(setting, str(error)) from error


def make_engine(
    name: EngineName,
    settings: Settings,
    clock: Clock,
    on_failure: Callable[[DispatcherNotWorking], None] = lambda _: None,
) -> Engine:
    """An engine made from the settings, not yet started.

    Args:
        name: which one.
        settings: the server's settings.
        clock: the time.
        on_failure: called once if the engine has failed for good.

    Raises:
        SettingsError: the settings name an engine or an option that this server does not have.
    """
    if name is EngineName.LOCAL:
        directory = settings.data_dir
        journal = None if directory is None else Journal(directory, Fsync(settings.fsync), on_failure)
        return LocalEngine(
            clock, settings.topic_config(name), journal, max_queued_bytes=settings.local_max_queued_bytes
        )
    return make_redis(settings, clock)


def make_redis(settings: Settings, clock: Clock) -> PartitionedEngine:
    """The redis engine, made from the settings, not yet started.

    Raises:
        SettingsError: as ``make_engine``.
    """
    try:
        return make_redis_engine(
            settings.redis_url,
            settings.namespace,
            clock,
            settings.topic_config(EngineName.REDIS),
            credentials=redis_credentials(settings),
            min_replicas_ack=settings.min_replicas_ack,
        )
    except RedisUrlError as error:
        raise SettingsError("redis_url", str(error)) from error
    except PasswordFileError as error:
        raise SettingsError("redis_password_file", str(error)) from error


def redis_credentials(settings: Settings) -> Credentials:
    """The server's credentials for Redis. A password takes precedence over a password file."""
    if settings.redis_password is not None:
        return Credentials(settings.redis_username, settings.redis_password.get_secret_value())
    return Credentials(settings.redis_username, password_file=settings.redis_password_file)
