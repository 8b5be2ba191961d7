"""The server's settings: their sources, the order of these, and the errors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from duebus_server.config import Settings, SettingsError, load_settings
from duebus_server.domain.clock import MINUTE, SECOND
from duebus_server.domain.model import EngineName
from duebus_server.domain.retry import RetryPolicy

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in Settings.model_fields:
        monkeypatch.delenv(f"DUEBUS_{name.upper()}", raising=False)


def refusal(**flags: Any) -> str:
    """Why these flags are refused."""
    with pytest.raises(SettingsError) as caught:
        load_settings(flags)
    return str(caught.value)


def toml(folder: Path, text: str | bytes) -> str:
    """A file with this content."""
    file = folder / "duebus.toml"
    file.write_bytes(text.encode() if isinstance(text, str) else text)
    return str(file)


# --- defaults ---------------------------------------------------------------------------------------------------------


def test_the_defaults_are_those_of_the_contract() -> None:
    settings = load_settings({})
    assert (settings.listen, settings.engine, settings.namespace) == ("127.0.0.1:50051", (EngineName.LOCAL,), "duebus")
    assert (settings.max_queued, settings.max_retries, settings.processes) == (100_000, 3, 1)
    assert (settings.backoff_initial, settings.backoff_max) == (SECOND // 2, 5 * MINUTE)
    assert (settings.lease, settings.disconnect_grace, settings.sweep_interval) == (30 * SECOND, SECOND, SECOND)
    assert (settings.dedupe_window, settings.drain_timeout) == (10 * MINUTE, 30 * SECOND)


def test_max_queued_is_a_limit_on_local_and_on_redis_only_when_it_is_set() -> None:
    default, chosen = load_settings({}), load_settings({"max_queued": "7"})
    assert [default.topic_config(name).max_queued for name in EngineName] == [100_000, 0]
    assert [chosen.topic_config(name).max_queued for name in EngineName] == [7, 7]


def test_max_queued_bytes_of_local_depend_on_its_data_directory(tmp_path: Path) -> None:
    default, durable = load_settings({}), load_settings({"data_dir": str(tmp_path)})
    chosen = load_settings({"data_dir": str(tmp_path), "max_queued_bytes": "1GiB"})
    unlimited = load_settings({"max_queued_bytes": "0B"})
    assert [each.local_max_queued_bytes for each in (default, durable, chosen)] == [1 << 30, 16 << 30, 1 << 30]
    assert unlimited.local_max_queued_bytes == 0


def test_the_settings_of_a_topic_are_those_of_the_server() -> None:
    settings = load_settings(
        {"max_retries": "5", "backoff_initial": "1s", "backoff_max": "1m", "lease": "5s", "dedupe_window": "0s"}
    )
    config = settings.topic_config(EngineName.LOCAL)
    assert config.retry_policy == RetryPolicy(5, SECOND, MINUTE)
    assert (config.lease_us, config.dedupe_window_us) == (5 * SECOND, 0)


# --- sources ----------------------------------------------------------------------------------------------------------


def test_flags_override_the_environment_which_overrides_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = toml(tmp_path, 'lease = "1s"\ndrain_timeout = "1s"\ndisconnect_grace = "1500ms"\nmax_queued = 5\n')
    monkeypatch.setenv("DUEBUS_LEASE", "2s")
    monkeypatch.setenv("DUEBUS_DRAIN_TIMEOUT", "2s")
    settings = load_settings({"config": file, "lease": "3s"})
    assert (settings.lease, settings.drain_timeout) == (3 * SECOND, 2 * SECOND)
    assert (settings.disconnect_grace, settings.max_queued) == (1_500_000, 5)


@pytest.mark.parametrize("name", ["http_listen", "health_listen", "web_listen"])
def test_an_empty_address_turns_a_port_of_the_file_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    config = toml(tmp_path, f'{name} = "127.0.0.1:9090"')
    assert getattr(load_settings({"config": config}), name) == "127.0.0.1:9090"
    monkeypatch.setenv(f"DUEBUS_{name.upper()}", "")
    assert getattr(load_settings({"config": config}), name) is None


def test_the_environment_may_name_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DUEBUS_CONFIG", toml(tmp_path, 'lease = "7s"'))
    assert load_settings({}).lease == 7 * SECOND


@pytest.mark.parametrize("text", ["local,redis", " local , redis "])
def test_engines_are_a_list_in_the_environment(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("DUEBUS_ENGINE", text)
    assert load_settings({}).engine == (EngineName.LOCAL, EngineName.REDIS)


@pytest.mark.parametrize("text", ['engine = ["redis", "local"]', 'engine = "redis,local"'])
def test_engines_are_a_list_in_the_file(tmp_path: Path, text: str) -> None:
    assert load_settings({"config": toml(tmp_path, text)}).engine == (EngineName.REDIS, EngineName.LOCAL)


# --- what is refused --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ({"lease": "99ms"}, "lease: must be from 100ms to 12h"),
        ({"lease": "13h"}, "lease: must be from 100ms to 12h"),
        ({"lease": "9" * 400 + "s"}, "lease: "),
        ({"lease": "5"}, "lease: '5' is not a duration such as 500ms, 30s or 5m"),
        ({"disconnect_grace": "2h"}, "disconnect_grace: must be from 0s to 1h"),
        ({"drain_timeout": "61m"}, "drain_timeout: must be from 0s to 1h"),
        ({"sweep_interval": "0s"}, "sweep_interval: must be from 10ms to 1m"),
        ({"dedupe_window": "8d"}, "dedupe_window: must be from 0s to 7d"),
        ({"backoff_initial": "0s"}, "backoff_initial: must be from 1ms to 30d"),
        ({"backoff_initial": "10s", "backoff_max": "5s"}, "backoff_max: must not be less than backoff_initial"),
        ({"max_queued": "-1"}, "max_queued: "),
        ({"max_queued": "many"}, "max_queued: 'many' is not a whole number"),
        ({"max_queued": "1.5"}, "max_queued: '1.5' is not a whole number"),
        ({"max_queued": "9" * 5_000}, "max_queued: must be from 0 to 9007199254740992"),
        ({"max_queued_bytes": "17000GiB"}, "max_queued_bytes: must be from 0B to 16384GiB"),
        ({"max_queued_bytes": "-1"}, "max_queued_bytes: '-1' is not a size such as 512KiB or 16MiB"),
        ({"max_queued_bytes": "1MiB", "engine": ["redis"]}, "max_queued_bytes: is a setting of the local engine"),
        ({"max_retries": "1000001"}, "max_retries: "),
        ({"engine": ["kafka"]}, "engine: 'kafka' is not local or redis"),
        ({"engine": []}, "engine: at least one engine is required"),
        ({"engine": ["local", "local"]}, "engine: the same engine is named twice"),
        ({"processes": "2"}, "processes: the local engine runs in one process only"),
        ({"processes": "0"}, "processes: "),
        ({"listen": "50051"}, "listen: '50051' is not HOST:PORT"),
        ({"listen": ":50051"}, "listen: ':50051' is not HOST:PORT"),
        ({"listen": "localhost:"}, "listen: 'localhost:' is not HOST:PORT"),
        ({"listen": "localhost:65536"}, "listen: 'localhost:65536' is not HOST:PORT"),
        ({"listen": "localhost:²"}, "listen: 'localhost:²' is not HOST:PORT"),
        ({"namespace": "a b"}, "namespace: must match [A-Za-z0-9][A-Za-z0-9._-]{0,62}"),
        ({"namespace": ""}, "namespace: "),
        ({"log_format": "xml"}, "log_format: 'xml' is not json or console"),
        ({"log_level": "trace"}, "log_level: 'trace' is not debug, info, warning or error"),
        ({"leese": "5s"}, "leese: no such setting"),
        ({"config": "/no/such/file.toml"}, "config: no such file: /no/such/file.toml"),
    ],
    ids=str,
)
def test_a_wrong_flag_is_refused_in_one_line_that_names_it(flags: dict[str, Any], words: str) -> None:
    said = refusal(**flags)
    assert said.startswith(words)
    assert "\n" not in said


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ('lease = "99ms"', "lease: must be from 100ms to 12h"),
        ('leese = "5s"', "leese: no such setting"),
        ('[server]\nlease = "5s"', "server: no such setting"),
        ('lease = "5s', "config: FILE is not TOML: "),
        (b"\xff\xfe", "config: FILE is not UTF-8 text"),
        ('config = "other.toml"', "config: can't be set in a file"),
        ("drain_timeout = 30", "drain_timeout: '30' is not a duration"),  # of what? never guessed
        ("lease = 1.5", "lease: '1.5' is not a duration"),
        ("max_queued = 1.5", "max_queued: '1.5' is not a whole number"),
        ("max_queued = true", "max_queued: 'True' is not a whole number"),
        ("log_format = []", "log_format: [] is not json or console"),
        ("jwt_issuer = []", "jwt_issuer: must be text"),
        ("tls_cert = []", "tls_cert: must be text"),
        ("engine = [[]]", "engine: [] is not local or redis"),
        ("engine = {}", "engine: "),
    ],
    ids=str,
)
def test_a_wrong_file_is_refused_in_one_line(tmp_path: Path, content: str | bytes, words: str) -> None:
    file = toml(tmp_path, content)
    said = refusal(config=file)
    assert said.startswith(words.replace("FILE", file))
    assert "\n" not in said


def test_a_password_of_another_type_is_not_repeated(tmp_path: Path) -> None:
    assert "secret" not in refusal(config=toml(tmp_path, 'redis_password = ["secret"]'))


def test_a_folder_is_not_a_file(tmp_path: Path) -> None:
    assert refusal(config=str(tmp_path)) == f"config: {tmp_path} is not a file"


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("LEASE", "soon", "lease: 'soon' is not a duration"),
        ("ENGINE", "local,kafka", "engine: "),
        ("ENGINE", "", "engine: at least one engine is required"),
        ("MAX_QUEUED", "", "max_queued: "),
        ("CONFIG", "/no/such/file.toml", "config: no such file"),
    ],
)
def test_a_wrong_environment_variable_is_refused(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, words: str
) -> None:
    monkeypatch.setenv(f"DUEBUS_{name}", value)
    assert refusal().startswith(words)


def test_a_flag_overrides_a_wrong_environment_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DUEBUS_LEASE", "soon")
    assert load_settings({"lease": "5s"}).lease == 5 * SECOND
