"""The command line on a secured server, with and without permission."""

from __future__ import annotations

import json
import stat
from typing import TYPE_CHECKING

import pytest
from duebus_server.security.token_file import identity_of, read_tokens
from support.cli import Cli
from support.secured import Secured, make_secured

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from support.server_process import ServerProcess


@pytest.fixture
def secured(tmp_path: Path) -> Secured:
    return make_secured(tmp_path, "ops")


@pytest.fixture
def server(start_server: Callable[..., ServerProcess], secured: Secured) -> ServerProcess:
    return start_server(*secured.tls_flags(mutual=True), *secured.token_flags())


def flags(secured: Secured) -> list[str]:
    files = secured.certificates
    token = secured.folder / "ops.token"
    token.write_text(f"{secured.tokens['ops']}\n")
    ours = {"--tls-ca": files.ca, "--tls-cert": files.client, "--tls-key": files.client_key, "--token-file": token}
    return [str(part) for pair in ours.items() for part in pair]


def test_flags_work_before_and_after_the_command(server: ServerProcess, secured: Secured) -> None:
    cli = Cli(server.address)
    assert cli.ok("dispatch", "orders", "1", "--json", *flags(secured)).record["topic"] == "orders"
    assert [record["topic"] for record in cli.ok(*flags(secured), "topics", "--json").records] == ["orders"]


def test_credentials_can_come_from_the_environment(server: ServerProcess, secured: Secured) -> None:
    files = secured.certificates
    env = {
        "DUEBUS_TLS_CA": files.ca,
        "DUEBUS_CLIENT_CERT": files.client,
        "DUEBUS_CLIENT_KEY": files.client_key,
        # in the environment of a server, these are the server's
        "DUEBUS_TLS_CERT": files.server,
        "DUEBUS_TLS_KEY": files.server_key,
    }
    result = Cli(server.address).run(
        "dispatch", "orders", "1", **{name: str(file) for name, file in env.items()}, DUEBUS_TOKEN=secured.tokens["ops"]
    )
    assert (result.status, result.err) == (0, "")


def test_the_servers_certificate_is_not_taken_for_the_clients_and_one_line_says_so(
    start_server: Callable[..., ServerProcess], secured: Secured
) -> None:
    # given: a server without mutual TLS, so that a certificate is not needed
    server = start_server(*secured.tls_flags())
    env = {
        "DUEBUS_TLS_CA": secured.certificates.ca,
        "DUEBUS_TLS_CERT": "/no/such/file",
        "DUEBUS_TLS_KEY": "/no/such/file",
    }

    # when
    result = Cli(server.address).run("health", **{name: str(file) for name, file in env.items()})

    # then
    assert result.status == 0, result
    assert result.err == "DUEBUS_TLS_CERT is the certificate of duebus serve; that of a client is DUEBUS_CLIENT_CERT\n"


def test_credentials_work_for_a_worker(server: ServerProcess, secured: Secured, tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_text(
        "from duebus import Worker\nworker = Worker()\n\n@worker.on('orders')\ndef handle(delivery):\n"
        "    print(delivery.json(), flush=True)\n"
    )
    cli = Cli(server.address, tmp_path)
    with cli.start("worker", "shop:worker", *flags(secured)) as working:
        working.wait_for("is ready")
        cli.ok("dispatch", "orders", "7", *flags(secured))
        assert working.line() == "7"
        assert working.end().status == 0


def test_credentials_work_for_subscribe(server: ServerProcess, secured: Secured) -> None:
    cli = Cli(server.address)
    with cli.start("subscribe", "orders", "--count", "1", "--json", *flags(secured)) as subscribed:
        subscribed.wait_for("subscribed to orders")
        cli.ok("dispatch", "orders", "7", *flags(secured))
        assert subscribed.record()["topic"] == "orders"


def test_a_wrong_token_is_one_line_without_the_token(
    start_server: Callable[..., ServerProcess], secured: Secured
) -> None:
    server = start_server(*secured.token_flags())
    result = Cli(server.address).run("topics", DUEBUS_TOKEN="duebus_wrong")
    assert result.complaint == "the token is not known"
    assert Cli(server.address).run("topics").complaint == "credentials are required, such as a bearer token"


@pytest.mark.parametrize("flag", ["--tls-ca", "--token-file"])
def test_a_missing_file_is_named(server: ServerProcess, flag: str) -> None:
    assert Cli(server.address).run("topics", flag, "nothing").complaint == "nothing: no such file or directory"


def test_a_certificate_without_its_key_is_refused(server: ServerProcess, secured: Secured) -> None:
    result = Cli(server.address).run("topics", "--tls-cert", str(secured.certificates.client))
    assert result.complaint == "--tls-cert and --tls-key: each requires the other"


# --- tokens -----------------------------------------------------------------------------------------------------------


def test_a_new_token_is_printed_once_with_its_line_for_the_file(tmp_path: Path) -> None:
    made = Cli().ok("token", "new", "billing", "--json").record
    file = tmp_path / "tokens"
    file.write_text(made["line"])
    file.chmod(0o600)
    assert identity_of(read_tokens(file), made["token"]) == made["identity"] == "billing"
    token, line = Cli().ok("token", "new", "billing").out.splitlines()
    assert token.startswith("token: duebus_")
    assert line.startswith("line for --tokens-file: billing sha256:")


def test_with_a_file_the_line_is_appended_and_only_the_token_printed(tmp_path: Path) -> None:
    file = tmp_path / "tokens"
    tokens = {identity: Cli().ok("token", "new", identity, "--tokens-file", str(file)).out.strip() for identity in "ab"}
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    file.write_text(file.read_text().rstrip("\n"))
    tokens["c"] = json.loads(Cli().ok("token", "new", "c", "--tokens-file", str(file), "--json").out)["token"]
    known = read_tokens(file)
    assert {identity: identity_of(known, token) for identity, token in tokens.items()} == {each: each for each in "abc"}


def test_an_invalid_identity_is_refused() -> None:
    assert "IDENTITY" in Cli().run("token", "new", "a b").complaint
