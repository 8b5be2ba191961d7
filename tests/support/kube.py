"""A Kubernetes API server on its own etcd. Nothing else runs: objects are checked and stored, and no pod is started."""

from __future__ import annotations

import json
import ssl
import subprocess
import time
import urllib.error
import urllib.request
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import yaml
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from support.documents import ROOT
from support.redis_server import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.chart import Object

BIN = ROOT / ".tools" / "bin"
"""`make kube` builds etcd and kube-apiserver into it."""

START_S = 120.0
TOKEN = "admin"

DUAL_STACK = "10.96.0.0/16,fd00:96::/108"
"""The addresses of Services."""


class Answer(NamedTuple):
    """What the API server has answered.

    Attributes:
        status: of HTTP.
        body: an object, a list of objects, or a Status.
        warnings: what it accepts and advises against.
    """

    status: int
    body: Any
    warnings: list[str]


class Cluster:
    """A running API server.

    Attributes:
        kubeconfig: for helm.
    """

    def __init__(self, folder: Path, port: int) -> None:
        self.kubeconfig = folder / "kubeconfig"
        self._folder = folder
        self._url = f"https://127.0.0.1:{port}"
        self._resources: dict[str, dict[str, tuple[str, bool]]] = {}

    def write_kubeconfig(self) -> None:
        """Write what helm needs to connect."""
        cluster = {"server": self._url, "certificate-authority": str(self._folder / "apiserver.crt")}
        context = {"cluster": "test", "user": "test"}
        written = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "test",
            "clusters": [{"name": "test", "cluster": cluster}],
            "contexts": [{"name": "test", "context": context}],
            "users": [{"name": "test", "user": {"token": TOKEN}}],
        }
        self.kubeconfig.write_text(yaml.safe_dump(written))

    def ask(self, method: str, path: str, body: Object | None = None, content_type: str = "application/json") -> Answer:
        """The answer of the API server.

        Raises:
            OSError: it can't be reached.
        """
        request = urllib.request.Request(  # noqa: S310  # https
            self._url + path,
            None if body is None else json.dumps(body).encode(),
            {"Authorization": f"Bearer {TOKEN}", "Content-Type": content_type},
            method=method,
        )
        trust = ssl.create_default_context(cafile=self._folder / "apiserver.crt")
        try:
            with urllib.request.urlopen(request, timeout=60, context=trust) as answer:  # noqa: S310
                return Answer(answer.status, json.load(answer), answer.headers.get_all("Warning") or [])
        except urllib.error.HTTPError as error:
            return Answer(error.code, json.loads(error.read()), [])

    def create(self, made: Object, *, dry_run: bool = False) -> Answer:
        """Create an object, or only have it checked. A field that its kind does not have is an error."""
        return self.ask("POST", f"{self._path(made)}?fieldValidation=Strict{'&dryRun=All' if dry_run else ''}", made)

    def get(self, made: Object) -> Object | None:
        """The object of this kind, namespace and name, as it is stored; None if there is none."""
        answer = self.ask("GET", f"{self._path(made)}/{made['metadata']['name']}")
        return answer.body if answer.status == 200 else None

    def patch(self, made: Object, change: Object, part: str = "") -> Answer:
        """Merge a change into an object, or into a part of it such as ``/status``."""
        path = f"{self._path(made)}/{made['metadata']['name']}{part}"
        return self.ask("PATCH", path, change, "application/merge-patch+json")

    def _path(self, made: Object) -> str:
        version = made["apiVersion"]
        prefix = f"/api/{version}" if version == "v1" else f"/apis/{version}"
        if made["kind"] not in self._resources.get(version, ()):
            found = self.ask("GET", prefix).body.get("resources", [])
            self._resources[version] = {
                each["kind"]: (each["name"], each["namespaced"]) for each in found if "/" not in each["name"]
            }
        plural, is_namespaced = self._resources[version][made["kind"]]
        within = f"/namespaces/{made['metadata']['namespace']}" if is_namespaced else ""
        return f"{prefix}{within}/{plural}"


@contextmanager
def cluster(folder: Path) -> Iterator[Cluster]:
    """A new cluster whose files are in a folder."""
    client, peer, port = (free_port() for _ in range(3))
    etcd, urls = f"http://127.0.0.1:{client}", f"http://127.0.0.1:{peer}"
    key = rsa.generate_private_key(65537, 2048).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
    )
    (folder / "accounts.key").write_bytes(key)
    (folder / "tokens.csv").write_text(f"{TOKEN},admin,admin,system:masters\n")
    commands: tuple[list[str | Path], ...] = (
        [
            BIN / "etcd", "--data-dir", folder / "etcd", "--unsafe-no-fsync", "--log-level", "error",
            "--listen-client-urls", etcd, "--advertise-client-urls", etcd, "--listen-peer-urls", urls,
            "--initial-advertise-peer-urls", urls, "--initial-cluster", f"default={urls}",
        ],
        [
            BIN / "kube-apiserver", "--etcd-servers", etcd, "--cert-dir", folder, "--secure-port", str(port),
            "--bind-address", "127.0.0.1", "--advertise-address", "127.0.0.1", "--endpoint-reconciler-type", "none",
            "--token-auth-file", folder / "tokens.csv", "--authorization-mode", "RBAC",
            "--service-cluster-ip-range", DUAL_STACK, "--service-account-issuer", "https://kubernetes.default.svc",
            "--service-account-key-file", folder / "accounts.key",
            "--service-account-signing-key-file", folder / "accounts.key",
            # They need controllers, which make accounts, and remove the finalizers of claims.
            "--disable-admission-plugins", "ServiceAccount,StorageObjectInUseProtection",
        ],
    )  # fmt: skip
    processes: list[subprocess.Popen[bytes]] = []
    try:
        for command in commands:
            with (folder / f"{Path(command[0]).name}.log").open("wb") as log:
                processes.append(subprocess.Popen(command, stdout=log, stderr=log))
        made = Cluster(folder, port)
        _wait_ready(made, processes, folder)
        made.write_kubeconfig()
        yield made
    finally:
        for process in reversed(processes):
            process.kill()
            process.wait()


def _wait_ready(made: Cluster, processes: list[subprocess.Popen[bytes]], folder: Path) -> None:
    """Wait until the API server answers that it is ready; it has no other signal."""
    deadline_s = time.monotonic() + START_S
    while True:
        with suppress(OSError, json.JSONDecodeError):
            if made.ask("GET", "/api/v1/namespaces/default").status == 200:
                return
        logs = "".join(each.read_text()[-4000:] for each in folder.glob("*.log"))
        assert all(process.poll() is None for process in processes), logs
        assert time.monotonic() < deadline_s, logs
        time.sleep(0.1)
