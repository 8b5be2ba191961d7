"""Packs what a release publishes, for `make release-dry-run` in dist, otherwise in a folder of the tests.

Run as a program, it checks that dist is complete and writes its checksums.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

from support.chart import HELM
from support.documents import ROOT
from support.versions import version

CLIENTS = ROOT / "clients"
CRATES = ("duebus", "duebus-testcontainers")
UV = Path(sys.executable).parent / "uv"
CHECKSUMS = "SHA256SUMS"
TIMEOUT_S = 600


class GoModule(NamedTuple):
    """A module below clients/go.

    Attributes:
        path: what programs import.
        folder: where it is.
        archive: the name of its zip file.
    """

    path: str
    folder: Path
    archive: str


class JavaModule(NamedTuple):
    """A module below clients/java.

    Attributes:
        artifact: its artifactId.
        folder: where its pom.xml is.
        jars: the names of its jars; a parent has none.
    """

    artifact: str
    folder: Path
    jars: tuple[str, ...]


def files() -> set[str]:
    """The names of all files of a release."""
    of_python = {f"duebus-{version()}-py3-none-any.whl", f"duebus-{version()}.tar.gz"}
    of_java = {name for each in java_modules() for name in (*each.jars, pom(each))}
    of_go = {each.archive for each in go_modules()}
    of_rust = {crate(each) for each in CRATES}
    return of_python | of_java | of_go | of_rust | {npm_archive(), f"duebus-chart-{version()}.tgz"}


def npm_archive() -> str:
    """The name of the npm package's file; npm's own would be that of the chart, too."""
    return f"duebus-npm-{version()}.tgz"


def crate(package: str = "duebus") -> str:
    """The name of a crate's file."""
    return f"{package}-{version()}.crate"


def go_modules() -> list[GoModule]:
    """The modules below clients/go, the client first."""
    found = []
    for file in sorted((CLIENTS / "go").rglob("go.mod"), key=lambda file: len(file.parts)):
        name = "-".join(("duebus", *file.parent.relative_to(CLIENTS).parts, version()))
        found.append(GoModule(file.read_text().split()[1], file.parent, f"{name}.zip"))
    return found


def java_modules() -> list[JavaModule]:
    """The modules below clients/java."""
    found = []
    for file in sorted(each for each in (CLIENTS / "java").rglob("pom.xml") if "target" not in each.parts):
        project = ElementTree.parse(file).getroot()  # noqa: S314  # our own file
        artifact = str(project.findtext("{*}artifactId"))
        jars = tuple(f"{artifact}-{version()}{each}" for each in (".jar", "-sources.jar", "-javadoc.jar"))
        found.append(JavaModule(artifact, file.parent, () if project.findtext("{*}packaging") == "pom" else jars))
    return found


def pom(module: JavaModule) -> str:
    """The name of its pom in a repository."""
    return f"{module.artifact}-{version()}.pom"


def pack_python(dist: Path) -> None:
    """The wheel, which uv builds from the source distribution."""
    run(UV, "build", "--out-dir", dist, "--build-constraint", ROOT / "constraints.txt", ROOT)


def pack_go(dist: Path) -> None:
    """The zip files of the modules, as a module proxy serves them."""
    modules = go_modules()
    for module in modules:
        nested = [each.folder for each in modules if module.folder in each.folder.parents]
        with zipfile.ZipFile(dist / module.archive, "w", zipfile.ZIP_DEFLATED) as archive:
            for file in _sources(module.folder):
                if not any(folder in file.parents for folder in nested):
                    archive.write(file, f"{module.path}@v{version()}/{file.relative_to(module.folder)}")


def pack_typescript(dist: Path) -> None:
    """The npm package."""
    run("make", "-C", CLIENTS / "typescript", "build")
    run("npm", "pack", "--silent", "--pack-destination", dist, cwd=CLIENTS / "typescript")
    (dist / f"duebus-{version()}.tgz").rename(dist / npm_archive())


def pack_java(dist: Path) -> None:
    """The jars, with those of the sources and of javadoc, and the poms."""
    run("make", "-C", CLIENTS / "java", "release")
    for module in java_modules():
        shutil.copy(module.folder / "pom.xml", dist / pom(module))
        for name in module.jars:
            shutil.copy(module.folder / "target" / name, dist)


def pack_rust(dist: Path) -> None:
    """The crates. Who unpacks the client compiles it; `make image-test` compiles the other, as it is here."""
    packages = [f"--package={each}" for each in CRATES]
    run("cargo", "package", "--quiet", *packages, "--no-verify", "--allow-dirty", cwd=CLIENTS / "rust")
    for each in CRATES:
        shutil.copy(CLIENTS / "rust" / "target" / "package" / crate(each), dist)


def pack_chart(dist: Path) -> None:
    """The Helm chart."""
    run(HELM, "package", ROOT / "helm" / "duebus", "--destination", dist)
    (dist / f"duebus-{version()}.tgz").rename(dist / f"duebus-chart-{version()}.tgz")


PACK = {"typescript": pack_typescript, "go": pack_go, "java": pack_java, "rust": pack_rust}
"""What packs the client of a language. Python's is packed with the server."""


def run(*command: str | Path, cwd: Path | None = None, **environment: str) -> str:
    """Run a command to its end. Returns its standard output.

    Raises:
        AssertionError: it fails; the text is what it printed.
    """
    done = subprocess.run(
        list(map(str, command)),
        cwd=cwd or "/",
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    assert done.returncode == 0, f"{' '.join(map(str, command))}\n{done.stdout[-8000:]}{done.stderr[-8000:]}"
    return done.stdout


def write_checksums(dist: Path) -> None:
    """Write SHA256SUMS, which `sha256sum --check` reads.

    Raises:
        SystemExit: a file of the release is missing, or there is another one.
    """
    there = {file.name for file in dist.iterdir() if not file.name.startswith(".")} - {CHECKSUMS}
    if there != files():
        sys.exit(f"{dist}: missing: {sorted(files() - there)}; not part of a release: {sorted(there - files())}")
    sums = {name: hashlib.sha256((dist / name).read_bytes()).hexdigest() for name in sorted(there)}
    (dist / CHECKSUMS).write_text("".join(f"{digest}  {name}\n" for name, digest in sums.items()))


def _sources(folder: Path) -> list[Path]:
    """The files of a folder that git has or would take."""
    listed = run("git", "ls-files", "--cached", "--others", "--exclude-standard", cwd=folder).splitlines()
    return [folder / name for name in listed if (folder / name).is_file()]


if __name__ == "__main__":
    write_checksums(Path(sys.argv[1]))
