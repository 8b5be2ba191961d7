"""The image's guarantees, as far as the Dockerfile shows them."""

from __future__ import annotations

import fnmatch
import json
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from duebus_server.ops import healthcheck
from support.documents import ROOT
from support.image import DOCKERFILE, HEALTHCHECK, stages, values

BUILD, IMAGE = stages()


def test_hadolint_finds_nothing() -> None:
    hadolint = Path(sys.executable).parent / "hadolint"
    done = subprocess.run([hadolint, DOCKERFILE], text=True, capture_output=True, check=False)
    assert done.returncode == 0, done.stdout


def test_both_stages_use_the_pinned_python() -> None:
    assert values(BUILD, "FROM") == ["${PYTHON_IMAGE} AS build"]
    assert values(IMAGE, "FROM") == ["${PYTHON_IMAGE}"]
    (default,) = re.findall(r"^ARG PYTHON_IMAGE=(.*)$", DOCKERFILE.read_text(), re.MULTILINE)
    found = re.fullmatch(r"docker\.io/library/python:3\.(\d+)-slim-(\w+)@sha256:[0-9a-f]{64}", default)
    assert found
    assert int(found[1]) >= 13
    assert found[2] in ("trixie", "forky"), "a Debian that gets security fixes"


def test_every_package_is_installed_with_a_hash() -> None:
    commands = [part for run in values(BUILD, "RUN") for part in run.split("&&")]
    installs = [command for command in commands if re.search(r"pip.* (install|wheel) ", command)]
    assert len(installs) == 4
    assert all("--require-hashes" in each or "--no-index" in each for each in installs)
    assert not [run for run in values(IMAGE, "RUN") if "install" in run]


def test_the_image_has_no_pip() -> None:
    (run,) = values(IMAGE, "RUN")
    removed = run.partition("&&")[0]
    python = "/usr/local/lib/python3.*"
    assert removed.split() == ["rm", "-rf", f"{python}/site-packages/*", f"{python}/ensurepip", "/usr/local/bin/pip*"]


def test_it_runs_as_a_user_that_is_a_number_and_not_root() -> None:
    (user,) = values(IMAGE, "USER")
    assert re.fullmatch(r"[1-9]\d{3,}:[1-9]\d{3,}", user)


@pytest.mark.parametrize("instruction", ["ENTRYPOINT", "CMD"])
def test_no_shell_stands_between_the_signal_and_the_server(instruction: str) -> None:
    (command,) = values(IMAGE, instruction)
    assert json.loads(command)
    assert values(IMAGE, "STOPSIGNAL") == ["SIGTERM"]


def test_its_health_check_gives_up_before_docker_does_and_says_why() -> None:
    (check,) = values(IMAGE, "HEALTHCHECK")
    assert json.loads(check.partition("CMD ")[2]) == HEALTHCHECK
    flags = dict(re.findall(r"--([a-z-]+)=(\d+)s", check))
    assert int(flags["timeout"]) > healthcheck.TIMEOUT_S


def test_its_health_check_finds_the_http_port_of_the_image() -> None:
    environment = " ".join(values(IMAGE, "ENV"))
    assert "DUEBUS_HTTP_LISTEN=127.0.0.1:9090" in environment.split()


def test_a_release_has_both_platforms_and_attestations() -> None:
    shown = subprocess.run(
        ["make", "-n", "image-release", "IMAGE=example/duebus:1"], cwd=ROOT, text=True, capture_output=True, check=True
    )
    (build,) = (line for line in shown.stdout.splitlines() if "docker buildx build" in line or "--tag" in line)
    assert {
        "--tag example/duebus:1", "--platform linux/amd64,linux/arm64", "--sbom=true", "--provenance=mode=max", "--push"
    } <= set(re.split(r" (?=--)", build.removesuffix(" .")))  # fmt: skip


def test_it_is_labelled() -> None:
    (labels,) = values(IMAGE, "LABEL")
    known = dict(part.split("=", 1) for part in shlex.split(labels))
    prefix = "org.opencontainers.image."
    assert {name.removeprefix(prefix) for name in known} == {
        "title", "description", "licenses", "source", "version", "revision", "created", "base.name"
    }  # fmt: skip
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert known[f"{prefix}description"] == project["description"]
    assert known[f"{prefix}licenses"] == project["license"]
    assert f"VERSION={project['version']}" in values(IMAGE, "ARG")


def test_copied_files_exist_and_are_not_ignored() -> None:
    ignored = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and not line.startswith("#")]
    sources = [name for copied in values(BUILD, "COPY") for name in copied.split()[:-1]]
    assert len(sources) == 7
    for name in sources:
        assert (ROOT / name).exists(), name
        last = [line for line in ignored if fnmatch.fnmatch(name, line.removeprefix("!"))][-1]
        assert last == f"!{name}"
