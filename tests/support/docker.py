"""A Docker engine, the image that it builds, and containers of it."""

from __future__ import annotations

import os
import platform
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from support.documents import ROOT
from support.image import DOCKERFILE

if TYPE_CHECKING:
    from collections.abc import Iterator

TIMEOUT_S = 900
PULL_TIMEOUT_S = 180
PORT = 50051

PYTHON = "duebus-test-python"
"""The name of the base image where the real one can't be pulled."""

KNOWS_START_INTERVAL = 25
"""The first version of Docker that does. An older one refuses a Dockerfile that has it."""

# As in deploy/compose.yaml.
RESTRICTED = ("--read-only", "--cap-drop=ALL", "--security-opt=no-new-privileges", f"--publish=127.0.0.1::{PORT}")


class Docker:
    """The docker client.

    Args:
        host: the address of the engine; None: what the client finds by itself.

    Attributes:
        environment: in which programs find the same engine.
    """

    def __init__(self, host: str | None = None) -> None:
        self.environment = dict(os.environ) if host is None else {**os.environ, "DOCKER_HOST": host}

    def __call__(self, *arguments: str | Path, timeout: float = TIMEOUT_S) -> str:
        """What a command prints.

        Raises:
            AssertionError: it fails; with what it said.
        """
        done = self.attempt(*arguments, timeout=timeout)
        assert done.returncode == 0, f"docker {arguments[0]}: {done.stdout[-8000:]}{done.stderr[-8000:]}"
        return done.stdout.strip()

    def attempt(self, *arguments: str | Path, timeout: float = TIMEOUT_S) -> subprocess.CompletedProcess[str]:
        """A command that may fail."""
        return subprocess.run(
            ["docker", *arguments],
            env=self.environment, capture_output=True, text=True, timeout=timeout, check=False,
        )  # fmt: skip

    def lines(self, *arguments: str) -> subprocess.Popen[str]:
        """A command that prints lines until its block ends."""
        return subprocess.Popen(
            ["docker", *arguments],
            env=self.environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip

    def answers(self) -> bool:
        """Whether there is an engine."""
        return self.attempt("version").returncode == 0

    def version(self) -> int:
        """The major version of the engine."""
        return int(self("version", "--format", "{{.Server.Version}}").partition(".")[0])


@contextmanager
def docker_engine() -> Iterator[Docker]:
    """The engine of this machine; where there is none, one that is started for the block."""
    found = Docker()
    if found.answers():
        yield found
        return
    assert os.geteuid() == 0, "no Docker engine answers; only root can start one"
    folder = Path(tempfile.mkdtemp(prefix="duebus-docker-"))
    try:
        with _started(folder) as own:
            yield own
    finally:
        shutil.rmtree(folder)


@contextmanager
def _started(folder: Path) -> Iterator[Docker]:
    """An engine that leaves the network of the machine as it is: it publishes ports by its proxy, and sets no rules."""
    host = f"unix://{folder}/docker.sock"
    command = [
        "setpriv", "--pdeathsig=TERM",  # it must not outlive the tests
        "dockerd", f"--host={host}", f"--data-root={folder}/data", f"--exec-root={folder}/run",
        f"--pidfile={folder}/pid", "--iptables=false", "--ip6tables=false", "--ip-forward=false",
    ]  # fmt: skip
    had_bridge = Path("/sys/class/net/docker0").exists()
    with (folder / "log").open("w+") as log:
        daemon = subprocess.Popen(command, stdout=log, stderr=log, process_group=0)
        try:
            _wait_until_it_serves(daemon, folder / "log")
            yield Docker(host)
        finally:
            daemon.send_signal(signal.SIGTERM)
            daemon.wait(60)
            subprocess.run(["umount", folder / "run" / "netns" / "default"], capture_output=True, check=False)
            if not had_bridge:
                subprocess.run(["ip", "link", "delete", "docker0"], capture_output=True, check=False)


def _wait_until_it_serves(daemon: subprocess.Popen[Any], log: Path) -> None:
    with subprocess.Popen(["tail", "-F", "-n", "+1", log], stdout=subprocess.PIPE, text=True) as tail:
        assert tail.stdout
        for line in tail.stdout:
            if "API listen on" in line or daemon.poll() is not None:
                break
        tail.terminate()
    assert daemon.poll() is None, f"dockerd has not started:\n{log.read_text()[-8000:]}"


def build_image(docker: Docker, name: str) -> None:
    """Build the image as `make image` does, on another base if the real one can't be pulled."""
    arguments = []
    with tempfile.TemporaryDirectory(prefix="duebus-base-") as folder:
        if docker.attempt("pull", "--quiet", _default_python(), timeout=PULL_TIMEOUT_S).returncode != 0:
            if not _has(docker, PYTHON):
                _make_python(docker, Path(folder))
            arguments += [f"--build-arg=PYTHON_IMAGE={PYTHON}", "--network=host"]
        if docker.version() < KNOWS_START_INTERVAL:
            known = Path(folder) / "Dockerfile"
            known.write_text(re.sub(r" --start-interval=\S+", "", DOCKERFILE.read_text()))
            arguments.append(f"--file={known}")
        make = ["make", "image", f"IMAGE={name}", f"ARGS={' '.join(arguments)}"]
        built = subprocess.run(
            make, cwd=ROOT, env=docker.environment, capture_output=True, text=True, timeout=TIMEOUT_S, check=False
        )
    assert built.returncode == 0, f"{built.stdout[-8000:]}{built.stderr[-8000:]}"


@contextmanager
def pulled_or_built(docker: Docker, name: str, steps: str, context: Path) -> Iterator[None]:
    """An image for the block; where it can't be pulled, one that these steps make of the base image stands in for it.

    Args:
        steps: of a Dockerfile, after FROM.
        context: the folder that they copy from.
    """
    if _has(docker, name) or docker.attempt("pull", "--quiet", name, timeout=PULL_TIMEOUT_S).returncode == 0:
        yield
        return
    with tempfile.NamedTemporaryFile("w", prefix="duebus-dockerfile-") as file:
        file.write(f"FROM {base_image(docker)}\n{steps}")
        file.flush()
        docker("build", "--quiet", "--network=host", f"--tag={name}", f"--file={file.name}", context)
    try:
        yield
    finally:
        docker("image", "rm", "--force", name)


def base_image(docker: Docker) -> str:
    """The name of the image that it was built on."""
    return PYTHON if _has(docker, PYTHON) else _default_python()


def _has(docker: Docker, image: str) -> bool:
    return docker.attempt("image", "inspect", image).returncode == 0


def _default_python() -> str:
    (name,) = re.findall(r"^ARG PYTHON_IMAGE=(.*)$", DOCKERFILE.read_text(), re.MULTILINE)
    return str(name)


def _make_python(docker: Docker, folder: Path) -> None:
    """Import an image like the official one: this machine's Debian, with a Python below /usr/local.

    It reaches the package index as this machine does.
    """
    root = folder / "root"
    release = platform.freedesktop_os_release()["VERSION_CODENAME"]
    _run("debootstrap", "--variant=minbase", "--include=ca-certificates", release, root)
    _copy_python(root)
    for file in ("/etc/pip.conf", "/etc/ssl/certs/ca-certificates.crt"):
        if Path(file).exists():
            shutil.copy(file, f"{root}{file}")
    _run("tar", "--create", "--file", folder / "root.tar", "--directory", root, ".")
    path = "/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin"
    docker("import", f"--change=ENV PATH={path}", folder / "root.tar", PYTHON)


def _copy_python(root: Path) -> None:
    base = Path(sys.base_prefix)
    assert base != Path("/usr"), "only a Python that is not the system's can be copied: make install PYTHON="
    left_out = shutil.ignore_patterns("__pycache__", "test", "*.a", "site-packages")
    for name in ("bin", "lib"):
        shutil.copytree(base / name, root / "usr" / "local" / name, ignore=left_out, symlinks=True, dirs_exist_ok=True)
    (root / "usr" / "local" / "bin" / "python").unlink(missing_ok=True)
    (root / "usr" / "local" / "bin" / "python").symlink_to("python3")
    modules = [base / "bin" / "python3", *base.glob("lib/python3.*/lib-dynload/*.so")]
    needed = set(re.findall(r"=> (/\S+)", "".join(_run("ldd", each) for each in modules)))
    for library in map(Path, needed):
        copied = root / library.relative_to("/")
        if not copied.exists() and base not in library.parents:
            shutil.copy(library, copied)
    _run("chroot", root, "ldconfig")


def _run(*command: str | Path) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    assert done.returncode == 0, f"{command[0]}: {done.stdout[-8000:]}{done.stderr[-8000:]}"
    return done.stdout


def wait_logged(docker: Docker, container: str, text: str) -> str:
    """The first line of a container's output, from its start on, that has a text.

    Raises:
        AssertionError: it has ended without.
    """
    seen = []
    with docker.lines("logs", "--follow", container) as logs:
        assert logs.stdout
        for line in logs.stdout:
            seen.append(line)
            if text in line:
                logs.terminate()
                return line
    raise AssertionError(f"{text!r} was not logged: {''.join(seen)}")


class Container:
    """A running container.

    Args:
        arguments: of `docker run`: options, the image, and a command.
    """

    def __init__(self, docker: Docker, *arguments: str) -> None:
        self._docker = docker
        self.id = docker("run", "--detach", *arguments)

    def remove(self) -> None:
        self._docker("rm", "--force", "--volumes", self.id)

    @property
    def address(self) -> str:
        """HOST:PORT of the published port."""
        return self._docker("port", self.id, str(PORT)).splitlines()[0]

    def wait_logged(self, text: str) -> str:
        """As `wait_logged`."""
        return wait_logged(self._docker, self.id, text)

    def wait_healthy(self) -> None:
        """Wait for the engine's first verdict.

        Raises:
            AssertionError: it is another one.
        """
        created = self.inspect("{{.Created}}")
        watch = ("events", f"--since={created}", f"--filter=container={self.id}", "--filter=event=health_status")
        with self._docker.lines(*watch, "--format={{.Status}}") as events:
            assert events.stdout
            verdict = events.stdout.readline().strip()
            events.terminate()
        assert verdict == "health_status: healthy", self.inspect("{{json .State.Health}}")

    def execute(self, *command: str) -> str:
        """What a command in the container prints."""
        return self._docker("exec", self.id, *command)

    def inspect(self, template: str) -> str:
        return self._docker("inspect", f"--format={template}", self.id)

    def kill(self) -> None:
        self._docker("kill", self.id)

    def stop(self) -> int:
        """The exit status after SIGTERM; after 60 s the engine kills it."""
        self._docker("stop", "--time=60", self.id)
        return int(self.inspect("{{.State.ExitCode}}"))
