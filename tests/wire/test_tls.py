"""TLS on a real server: mutual TLS, renewal without a restart, and refusal of unusable files at the start."""

from __future__ import annotations

import asyncio
import shutil
from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio
import pytest
from duebus import Client as SyncClient
from duebus import tls
from duebus.aio import Client
from duebus.errors import PermissionDenied, TlsHandshakeFailed, Unavailable
from duebus.keda import externalscaler_pb2, externalscaler_pb2_grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from support.secured import SIGNAL_TIMEOUT_S, Secured, client, make_secured, rule, tls_client
from support.start import WRONG_SETTING, try_to_start
from support.tls import make_certificates
from support.wire import connect

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from support.server_process import ServerProcess
    from support.tls import Certificates

SOON_S = 2.0
"""How long a client tries before it fails."""


@pytest.fixture
def secured(tmp_path: Path) -> Secured:
    return make_secured(tmp_path, "shop")


async def can_not_connect(bus: Client) -> None:
    async with bus:
        with pytest.raises(Unavailable):
            await bus.dispatch("order.created", 1)


async def test_only_tls_clients_that_trust_the_authority_connect(
    start_server: Callable[..., ServerProcess], secured: Secured, tmp_path: Path
) -> None:
    server = start_server(*secured.tls_flags())
    async with tls_client(server.address, secured.certificates) as bus:
        await bus.dispatch("order.created", 1)
    await can_not_connect(client(server.address, timeout=SOON_S))
    (tmp_path / "other").mkdir()
    other = make_certificates(tmp_path / "other")
    await can_not_connect(tls_client(server.address, other, timeout=SOON_S))


async def test_an_error_that_a_retry_can_not_fix_is_reported_at_once(
    start_server: Callable[..., ServerProcess], secured: Secured, tmp_path: Path
) -> None:
    server, plaintext = start_server(*secured.tls_flags()), start_server()
    (tmp_path / "other").mkdir()
    trusted, other = tls(secured.certificates.ca), tls(make_certificates(tmp_path / "other").ca)
    another_name = [("grpc.ssl_target_name_override", "other.example")]
    clients = (
        Client(server.address, credentials=other),
        Client(server.address, credentials=trusted, options=another_name),
        Client(plaintext.address, credentials=trusted),
    )
    for bus in clients:
        async with bus, asyncio.timeout(SIGNAL_TIMEOUT_S):
            with pytest.raises(TlsHandshakeFailed):
                await bus.dispatch("order.created", 1)


async def test_with_mutual_tls_clients_need_a_valid_certificate_of_the_authority(
    start_server: Callable[..., ServerProcess], secured: Secured, tmp_path: Path
) -> None:
    server = start_server(*secured.tls_flags(mutual=True))
    async with tls_client(server.address, secured.certificates, mutual=True) as bus:
        await bus.dispatch("order.created", 1)
    await can_not_connect(tls_client(server.address, secured.certificates, timeout=SOON_S))
    for folder, days in (("other", 1), ("expired", -1)):
        (tmp_path / folder).mkdir()
        other = make_certificates(tmp_path / folder, days)
        shutil.copy(secured.certificates.ca, other.ca)  # trusts the server, but is not trusted by it
        await can_not_connect(tls_client(server.address, other, mutual=True, timeout=SOON_S))


async def test_with_mutual_tls_the_scaler_needs_a_certificate_too(
    start_server: Callable[..., ServerProcess], secured: Secured
) -> None:
    server = start_server(*secured.tls_flags(mutual=True))
    files = secured.certificates
    assert await scaler_answers(server.address, tls(files.ca, cert=files.client, key=files.client_key)) == "OK"
    assert await scaler_answers(server.address, tls(files.ca)) == "UNAVAILABLE"


async def scaler_answers(address: str, credentials: grpc.ChannelCredentials) -> str:
    """The status of a call by KEDA, on its own connection."""
    own = (("grpc.use_local_subchannel_pool", 1),)
    async with grpc.aio.secure_channel(address, credentials, options=own) as channel:
        scaler: Any = externalscaler_pb2_grpc.ExternalScalerStub(channel)  # type: ignore[no-untyped-call]  # generated
        asked = externalscaler_pb2.ScaledObjectRef(scalerMetadata={"topic": "order.created"})
        call = scaler.IsActive(asked, timeout=SIGNAL_TIMEOUT_S)
        return str((await call.code()).name)


async def test_the_names_in_a_certificate_are_its_identity(
    start_server: Callable[..., ServerProcess], secured: Secured
) -> None:
    rules = rule("client", "dispatch", topics="by.common.name") + rule("localhost", "dispatch", topics="by.other.name")
    acl = secured.acl_flags(rules)
    server = start_server(*secured.tls_flags(mutual=True), *acl)
    async with tls_client(server.address, secured.certificates, mutual=True) as bus:
        await bus.dispatch("by.common.name", 1)
        await bus.dispatch("by.other.name", 1)
        with pytest.raises(PermissionDenied) as caught:
            await bus.dispatch("pay", 1)
        assert caught.value.metadata["identity"] == "client"


async def test_a_token_takes_precedence_over_the_certificate(
    start_server: Callable[..., ServerProcess], secured: Secured
) -> None:
    acl = secured.acl_flags(rule("shop", "dispatch"))
    server = start_server(*secured.tls_flags(mutual=True), *secured.token_flags(), *acl)
    async with tls_client(server.address, secured.certificates, mutual=True, token=secured.tokens["shop"]) as bus:
        await bus.dispatch("order.created", 1)
    async with tls_client(server.address, secured.certificates, mutual=True) as bus:
        with pytest.raises(PermissionDenied):
            await bus.dispatch("order.created", 1)


async def test_certificates_are_renewed_without_a_restart_and_open_connections_stay(
    start_server: Callable[..., ServerProcess], secured: Secured, tmp_path: Path
) -> None:
    server = start_server(*secured.tls_flags(mutual=True))
    (tmp_path / "new").mkdir()
    new = make_certificates(tmp_path / "new")
    async with tls_client(server.address, secured.certificates, mutual=True) as old:
        await old.dispatch("order.created", 1)
        replace(secured.certificates, new)
        async with asyncio.timeout(SIGNAL_TIMEOUT_S):
            while not await connects(server.address, new):
                pass  # the server checks its files once a second
        await old.dispatch("order.created", 2)


def replace(old: Certificates, new: Certificates) -> None:
    """Replace one file after the other, as certificate renewal does."""
    for name in ("server", "server_key", "ca"):
        shutil.copy(getattr(new, name), getattr(old, name))


async def connects(address: str, certificates: Certificates) -> bool:
    async with tls_client(address, certificates, mutual=True, timeout=SOON_S) as bus:
        try:
            await bus.dispatch("order.created", 1)
        except Unavailable:
            return False
        return True


async def test_broken_certificates_leave_the_old_ones_in_force(
    start_server: Callable[..., ServerProcess], secured: Secured
) -> None:
    server = start_server(*secured.tls_flags())
    trusted = tls(secured.certificates.ca)
    secured.certificates.server.write_text("oops\n")
    async with asyncio.timeout(SIGNAL_TIMEOUT_S):
        while "changed file not used" not in server.log.read_text():
            async with client(server.address, credentials=trusted) as bus:
                await bus.dispatch("order.created", 1)
    assert f"{secured.certificates.server}: has no certificate in PEM" in server.log.read_text()


def test_programs_without_asyncio_use_tls_too(start_server: Callable[..., ServerProcess], secured: Secured) -> None:
    server = start_server(*secured.tls_flags(mutual=True))
    files = secured.certificates
    with SyncClient(server.address, credentials=tls(files.ca, cert=files.client, key=files.client_key)) as bus:
        bus.dispatch("order.created", 1)


async def test_the_health_port_serves_health_only_and_without_tls(
    start_server: Callable[..., ServerProcess], secured: Secured
) -> None:
    server = start_server(*secured.tls_flags(mutual=True), "--health-listen", "127.0.0.1:0")
    address = server.logged(r"health on .*address=(\S+)")
    async with connect(address) as wire:
        health: Any = health_pb2_grpc.HealthStub(wire.channel)
        assert (await health.Check(health_pb2.HealthCheckRequest())).status == health_pb2.HealthCheckResponse.SERVING
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await wire.raw("EventBus/Dispatch")(b"")
        assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


# --- the start --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("flags", "problem"),
    [
        (("--tls-cert", "{server}"), "tls_key: is required with tls_cert"),
        (("--tls-key", "{server_key}"), "tls_cert: is required with tls_key"),
        (("--tls-client-ca", "{ca}"), "tls_client_ca: requires tls_cert and tls_key"),
        (("--tls-cert", "{server}", "--tls-key", "{client_key}"), "tls_key: {client_key}: is not the key of {server}"),
        (("--tls-cert", "nothing", "--tls-key", "{client_key}"), "tls_cert: nothing: no such file or directory"),
        (("--acl-file", "{ca}"), "acl_file: requires tokens_file, jwks or tls_client_ca, which identify callers"),
        (("--jwks", "{ca}"), "jwt_audience: is required with jwks; otherwise tokens for other services would pass"),
        (("--jwt-issuer", "me"), "jwt_issuer: requires jwks"),
        (("--jwks", "nothing", "--jwt-audience", "duebus"), "jwks: nothing: no such file or directory"),
        (("--tokens-file", "nothing"), "tokens_file: nothing: no such file or directory"),
        (("--audit-log", "nothing/audit"), "audit_log: nothing/audit: no such file or directory"),
        (("--http-listen", "8080"), "http_listen: '8080' is not HOST:PORT"),
        (("--max-message-size", "1KiB"), "max_message_size: must be from 64KiB to 1GiB"),
        (("--max-message-size", "big"), "max_message_size: 'big' is not a size such as 512KiB or 16MiB"),
    ],
)
def test_an_unusable_setting_stops_the_start_with_one_line(
    secured: Secured, flags: tuple[str, ...], problem: str
) -> None:
    files = vars(secured.certificates)
    status, out, err = try_to_start(*(flag.format(**files) for flag in flags))
    assert (status, out, err) == (WRONG_SETTING, "", f"duebus: {problem.format(**files)}\n")


def test_an_expired_certificate_stops_the_start_with_one_line(tmp_path: Path) -> None:
    files = make_certificates(tmp_path, -1)
    status, out, err = try_to_start("--tls-cert", str(files.server), "--tls-key", str(files.server_key))
    assert (status, out, err.count("\n")) == (WRONG_SETTING, "", 1)
    assert err.startswith(f"duebus: tls_cert: {files.server}: the certificate expired on ")


def test_a_broken_tokens_file_stops_the_start_with_one_line(secured: Secured) -> None:
    file = secured.tokens_file
    with file.open("a") as opened:
        opened.write("oops\n")
    status, _, err = try_to_start(*secured.token_flags())
    assert (status, err) == (
        WRONG_SETTING,
        f"duebus: tokens_file: {file}:2: is not of the form IDENTITY sha256:HEX\n",
    )
    file.chmod(0o644)
    _, _, err = try_to_start(*secured.token_flags())
    assert err == f"duebus: tokens_file: {file}: has mode 0644: others could read or change it; try chmod 600\n"


# --- other machines ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("credentials", "encrypted", "warning"),
    [
        (False, False, "without credentials: anyone can use the bus"),
        (False, True, "without credentials: anyone can use the bus"),
        (True, False, "without TLS: anyone on the network path can read tokens and events"),
        (True, True, None),
    ],
)
def test_a_server_warns_about_what_other_machines_can_do(
    start_server: Callable[..., ServerProcess],
    secured: Secured,
    credentials: bool,
    encrypted: bool,
    warning: str | None,
) -> None:
    flags = [*(secured.token_flags() if credentials else ()), *(secured.tls_flags() if encrypted else ())]
    server = start_server(*flags, listen="0.0.0.0:0")  # on purpose
    log = server.log.read_text()
    assert ("other machines can connect" in log) is (warning is not None)
    assert (warning or "") in log
