"""Each client as its registry would have it: packed, installed in an empty project, and run against a server."""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
import tarfile
import tomllib
import zipfile
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple
from xml.etree import ElementTree

import pytest
from conformance.languages import read_languages
from support.cli import COMMAND, Running
from support.documents import blocks
from support.packages import Package, check_row
from support.packing import CLIENTS, PACK, crate, go_modules, java_modules, npm_archive, pack_typescript, pom, run
from support.versions import version

if TYPE_CHECKING:
    from collections.abc import Callable

    from support.server_process import ServerProcess

LANGUAGES = read_languages()

DEFAULT_SERVER = "127.0.0.1:50051"
"""What the programs of the READMEs connect to."""

pytestmark = pytest.mark.timeout(1_200)


def try_go(dist: Path, project: Path, server: str) -> tuple[str, Package]:
    """From a module proxy that is a folder, with the one in use behind it for what the client depends on.

    The project is for the oldest Go that the client takes, and has the programs of the README and its test.
    """
    client, *_ = modules = go_modules()
    proxy = project.parent / "proxy"
    for module in modules:
        publish_go(dist / module.archive, proxy, module.path)
    # An empty cache of modules, because one that has this version would be used; the usual one is another proxy.
    downloaded, in_use = run("go", "env", "GOMODCACHE", "GOPROXY").split()
    go = {
        "GOPROXY": f"file://{proxy},file://{downloaded}/cache/download,{in_use}",
        "GOMODCACHE": str(project.parent / "modules"),
        "GONOSUMDB": client.path,
        "GOFLAGS": "-mod=mod -modcacherw -trimpath",
    }
    (project / "go.sum").write_text("".join((each.folder / "go.sum").read_text() for each in modules))
    program, test, traced = blocks((client.folder / "README.md").read_text(), "go")
    (project / "main.go").write_text(program.replace(DEFAULT_SERVER, server))
    (project / "shop_test.go").write_text(test)
    (project / "traced").mkdir()
    (project / "traced" / "main.go").write_text(traced)
    oldest = go_line(client.folder)
    for command in (
        ["mod", "init", "example.com/shop"],
        ["mod", "edit", f"-go={oldest}"],
        ["get", *(f"{each.path}@v{version()}" for each in modules), OTELGRPC],
        ["vet", "./..."],
        ["build", "-o", "shop", "."],
    ):
        run("go", *command, cwd=project, **go)
    assert go_line(project) == oldest, "a dependency needs a newer Go"
    tests_of_modules = [each.path for each in modules if each is not client]
    run("go", "test", ".", *tests_of_modules, cwd=project, DUEBUS_COMMAND=str(COMMAND), **go)
    run_shop(project / "shop", cwd=project)
    printed = run("go", "run", f"{client.path}/examples/orders", cwd=project, DUEBUS_SERVER=server, **go)
    listed = run("go", "list", "-deps", "-f", "{{with .Module}}{{.Path}}{{end}}", client.path, cwd=project, **go)
    direct = re.findall(r"^\t(?!.*// indirect)\S+ v", (client.folder / "go.mod").read_text(), re.MULTILINE)
    size = kib(dist / client.archive)
    return printed, Package(f"Go: {client.path}", size, len(direct), len(set(listed.split()) - {client.path}))


OTELGRPC = "go.opentelemetry.io/contrib/instrumentation/google.golang.org/grpc/otelgrpc@v0.63.0"
"""What the README shows for the spans of calls, in a version that the oldest Go can compile."""


def go_line(module: Path) -> str:
    """The version of Go that a module needs."""
    line: str
    (line,) = re.findall(r"^go (\S+)$", (module / "go.mod").read_text(), re.MULTILINE)
    return line


def publish_go(archive: Path, proxy: Path, module: str) -> None:
    """Put a module into the folder of a proxy."""
    versions = proxy / module / "@v"
    versions.mkdir(parents=True)
    name = f"v{version()}"
    shutil.copy(archive, versions / f"{name}.zip")
    (versions / f"{name}.info").write_text(json.dumps({"Version": name, "Time": datetime.now(UTC).isoformat()}))
    with zipfile.ZipFile(archive) as files:
        (versions / f"{name}.mod").write_bytes(files.read(f"{module}@{name}/go.mod"))


def try_typescript(dist: Path, project: Path, server: str) -> tuple[str, Package]:
    """The project has the example, and the README's program and test."""
    repository = CLIENTS / "typescript"
    install_npm(project, str(dist / npm_archive()))
    installed = run("npm", "ls", "--all", "--parseable", cwd=project).splitlines()
    program, test = blocks((repository / "README.md").read_text(), "ts")[:2]
    (project / "shop.ts").write_text(program.replace(DEFAULT_SERVER, server))
    (project / "shop.test.ts").write_text(test)
    shutil.copy(repository / "examples" / "orders.ts", project)
    (project / "common.cts").write_text(COMMONJS)
    compile_typescript(project, "orders.ts", "shop.ts", "shop.test.ts", "common.cts")
    run("node", "common.cjs", cwd=project)
    run_shop("node", "shop.js", cwd=project)
    run("node", "--test", "shop.test.js", cwd=project, DUEBUS_COMMAND=str(COMMAND))
    printed = run("node", "orders.js", cwd=project, DUEBUS_SERVER=server)
    direct = json.loads((repository / "package.json").read_text())["dependencies"]
    return printed, Package("npm: duebus", kib(dist / npm_archive()), len(direct), len(installed) - 2)


COMMONJS = """
import { Client } from "duebus";
new Client("127.0.0.1:1").close();
"""


def install_npm(project: Path, *packages: str) -> None:
    """Install packages in a project of ES modules."""
    (project / "package.json").write_text('{"type": "module", "private": true}')
    run("npm", "install", "--silent", "--no-audit", "--no-fund", "--prefer-offline", *packages, cwd=project)


def compile_typescript(project: Path, *programs: str) -> None:
    """With the compiler of the repository, which is no part of the package."""
    modules = CLIENTS / "typescript" / "node_modules"
    types = ("--types", "node", "--typeRoots", modules / "@types")
    strict = ("--strict", "--exactOptionalPropertyTypes", "--noUncheckedIndexedAccess")
    target = ("--module", "nodenext", "--target", "es2022", "--lib", "esnext")
    run(modules / ".bin" / "tsc", *strict, *target, *types, *programs, cwd=project)


class Runner(NamedTuple):
    """A runner of tests that the README names, beside that of Node.js.

    Attributes:
        package: in the newest version for the oldest Node.js that the client supports.
        module: what tests import.
        command: runs tests once.
        node_options: what Node.js must be given.
    """

    package: str
    module: str
    command: tuple[str, ...]
    node_options: str = ""


TEST_TIMEOUT_MS = 120_000
"""By default five seconds, within which a busy machine may not have moved the clock."""

RUNNERS = {
    "typescript-vitest": Runner("vitest@4.1.12", "vitest", ("vitest", "run", f"--testTimeout={TEST_TIMEOUT_MS}")),
    "typescript-jest": Runner(
        "jest@30.5.2", "@jest/globals", ("jest", f"--testTimeout={TEST_TIMEOUT_MS}"), "--experimental-vm-modules"
    ),
}

FAILING_HANDLER = """
test("an assertion that fails in a handler fails the test", async () => {
  const worker = new Worker(bus.client).handle("wrong", () => assert.equal(1, 2));
  await bus.running(worker, async () => {
    await bus.client.dispatch("wrong", {});
    await assert.rejects(bus.settle(), { name: "AssertionError" });
  });
});
"""


@pytest.mark.parametrize("runner", RUNNERS)
def test_the_readmes_test_runs_in_other_runners(runner: str, dist: Path, tmp_path: Path) -> None:
    # given
    LANGUAGES["typescript"].require_tools()
    pack_typescript(dist)
    package, module, command, node_options = RUNNERS[runner]
    install_npm(tmp_path, str(dist / npm_archive()), package)

    # given: the README's test, with the import that the README has for it
    readme = (CLIENTS / "typescript" / "README.md").read_text()
    imports = f'import {{ afterAll as after, test }} from "{module}";'
    assert imports in readme
    assert node_options in readme
    test = blocks(readme, "ts")[1].replace('import { after, test } from "node:test";', imports)
    (tmp_path / "shop.test.ts").write_text(test + FAILING_HANDLER)
    compile_typescript(tmp_path, "shop.test.ts")

    # then
    run("npx", *command, "shop.test.js", cwd=tmp_path, DUEBUS_COMMAND=str(COMMAND), NODE_OPTIONS=node_options)


def try_rust(dist: Path, project: Path, server: str) -> tuple[str, Package]:
    """With the driver of the conformance suite, so that what all depend on is compiled already.

    The README's program is also checked alone, with the features that the README names.
    """
    repository = CLIENTS / "rust"
    unpacked, target = crate().removesuffix(".crate"), str(repository / "target")
    with tarfile.open(dist / crate()) as files:
        files.extractall(project, filter="data")
    shutil.copytree(repository / "driver", project / "driver")
    driver = project / "driver" / "Cargo.toml"
    driver.write_text(driver.read_text().replace('path = ".."', f'path = "../{unpacked}"'))
    workspace, _, rest = (repository / "Cargo.toml").read_text().partition("[package]\n")
    members = re.sub(r"(?m)^(default-)?members = .*\n", "", workspace)
    members = members.replace("[workspace]\n", f'[workspace]\nmembers = ["{unpacked}", "driver", "shop"]\n', 1)
    packed = f'[patch.crates-io]\nduebus = {{ path = "{unpacked}" }}\n'
    (project / "Cargo.toml").write_text(f"{members}\n{packed}\n{rest[rest.index('[profile') :]}")
    run("cargo", "fetch", "--quiet", cwd=repository)  # makes the lock file in a fresh checkout
    shutil.copy(repository / "Cargo.lock", project)
    write_shop_in_rust(project / "shop", server)

    cargo = {"CARGO_TARGET_DIR": target}
    everything = ("--quiet", "--workspace", "--all-features")
    run("cargo", "build", *everything, "--examples", "--bin", "shop", cwd=project, **cargo)
    printed = run(f"{target}/debug/examples/orders", DUEBUS_SERVER=server)
    run_shop(f"{target}/debug/shop", cwd=project)
    run("cargo", "test", *everything, "--test", "check", cwd=project, DUEBUS_COMMAND=str(COMMAND), **cargo)
    run("cargo", "check", "--quiet", "--package", "shop", cwd=project, **cargo)
    tree = ("cargo", "tree", "--package", "duebus", "--edges", "normal", "--prefix", "none", "--no-dedupe")
    installed = {line.split()[0] for line in run(*tree, cwd=project, **cargo).splitlines()} - {"duebus"}
    needed = tomllib.loads((repository / "Cargo.toml").read_text())["dependencies"].values()
    direct = [each for each in needed if not (isinstance(each, dict) and each.get("optional"))]
    return printed, Package("crates.io: duebus", kib(dist / crate()), len(direct), len(installed))


CARGO_TOML = """
[package]
name = "shop"
edition = "2024"

[dependencies]
duebus = "{version}"
tokio = {{ version = "1", features = ["macros", "rt-multi-thread", "signal"] }}

[dev-dependencies]
duebus = {{ version = "{version}", features = ["testing"] }}
"""


def write_shop_in_rust(project: Path, server: str) -> None:
    """The README's program and test, without the lines that rustdoc hides."""
    readme = (CLIENTS / "rust" / "README.md").read_text()
    program, test = (re.sub(r"(?m)^# .*\n", "", code) for code in blocks(readme, "rust,no_run")[:2])
    for name, content in {
        "Cargo.toml": CARGO_TOML.format(version=version()),
        "src/main.rs": program.replace(DEFAULT_SERVER, server),
        "tests/check.rs": test,
    }.items():
        (project / name).parent.mkdir(parents=True, exist_ok=True)
        (project / name).write_text(content)


POM = """
<project>
  <modelVersion>4.0.0</modelVersion>
  <groupId>com.example</groupId>
  <artifactId>shop</artifactId>
  <version>1</version>
  <properties>
    <maven.compiler.release>17</maven.compiler.release>
    <project.build.sourceEncoding>UTF-8</project.build.sourceEncoding>
  </properties>
  <repositories><repository><id>release</id><url>file://{repository}</url></repository></repositories>
  <dependencies>
    <dependency><groupId>io.duebus</groupId><artifactId>duebus</artifactId><version>{version}</version></dependency>
    <dependency>
      <groupId>io.duebus</groupId><artifactId>duebus-testing</artifactId><version>{version}</version><scope>test</scope>
    </dependency>
    <dependency>
      <groupId>org.junit.jupiter</groupId><artifactId>junit-jupiter</artifactId><version>{junit}</version>
      <scope>test</scope>
    </dependency>
  </dependencies>
  <build>
    <plugins>
      <plugin><artifactId>maven-resources-plugin</artifactId><version>3.4.0</version></plugin>
      <plugin>
        <artifactId>maven-compiler-plugin</artifactId><version>3.15.0</version>
        <configuration>
          <showWarnings>true</showWarnings><failOnWarning>true</failOnWarning>
          <compilerArgs><arg>-Xlint:all</arg></compilerArgs>
        </configuration>
      </plugin>
      <plugin><artifactId>maven-surefire-plugin</artifactId><version>3.6.1</version></plugin>
      <plugin>
        <artifactId>maven-dependency-plugin</artifactId><version>3.11.0</version>
        <configuration><includeScope>runtime</includeScope><outputFile>target/classpath</outputFile></configuration>
      </plugin>
    </plugins>
  </build>
</project>
"""
SETTINGS = """
<settings>
  <mirrors><mirror><id>cache</id><mirrorOf>central</mirrorOf><url>file://{cache}</url></mirror></mirrors>
</settings>
"""


def try_java(dist: Path, project: Path, server: str) -> tuple[str, Package]:
    """With an empty local repository, which takes what the client depends on from the one that its build has filled.

    The project has the example, and the README's program and test.
    """
    repository, settings = project.parent / "repository", project.parent / "settings.xml"
    for module in java_modules():
        folder = repository / "io" / "duebus" / module.artifact / version()
        folder.mkdir(parents=True)
        for name in (*module.jars, pom(module)):
            shutil.copy(dist / name, folder)
    settings.write_text(SETTINGS.format(cache=Path.home() / ".m2" / "repository"))
    junit = ElementTree.parse(CLIENTS / "java" / "pom.xml").findtext("{*}properties/{*}junit.version")  # noqa: S314  # our own file
    (project / "pom.xml").write_text(POM.format(repository=repository, version=version(), junit=junit))
    (example,) = (each for each in (CLIENTS / "java").rglob("Orders.java") if "target" not in each.parts)
    sources, tests = project / "src" / "main" / "java", project / "src" / "test" / "java"
    sources.mkdir(parents=True)
    tests.mkdir(parents=True)
    shutil.copy(example, sources)
    program, test = blocks((CLIENTS / "java" / "README.md").read_text(), "java")[:2]
    (sources / "Shop.java").write_text(program.replace(DEFAULT_SERVER, server))
    (tests / "CheckTest.java").write_text(test)
    local = f"-Dmaven.repo.local={project.parent / 'local'}"
    maven = ("mvn", "--batch-mode", "--quiet", "--settings", settings, "--global-settings", settings, local)
    flags = (CLIENTS / "java" / ".mvn" / "jvm.config").read_text()  # those of a JVM that runs for seconds
    run(*maven, "test", "dependency:build-classpath", cwd=project, DUEBUS_COMMAND=str(COMMAND), MAVEN_OPTS=flags)
    classpath = (project / "target" / "classpath").read_text()
    java = ("java", *flags.split(), "-cp", f"target/classes:{classpath}")
    run_shop(*java, "Shop", cwd=project)
    printed = run(*java, "io.duebus.examples.Orders", cwd=project, DUEBUS_SERVER=server)
    (client,) = (each for each in java_modules() if each.artifact == "duebus")
    needed = ElementTree.parse(client.folder / "pom.xml").getroot().iterfind("{*}dependencies/{*}dependency")  # noqa: S314  # our own file
    direct = [each for each in needed if each.findtext("{*}scope") != "test"]
    size = kib(dist / client.jars[0])
    return printed, Package("Maven: io.duebus:duebus", size, len(direct), len(classpath.split(":")) - 1)


def run_shop(*command: str | Path, cwd: Path) -> None:
    """Run the program of a README until it has handled its event; then end it, as Kubernetes does."""
    process = subprocess.Popen(
        list(map(str, command)), cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    with Running(process) as shop:
        handled = shop.line()
        ended = shop.end(signal.SIGTERM)
    assert handled == "order 42 is checked, at attempt 1", f"{handled}\n{ended}"
    assert ended.status in {0, 128 + signal.SIGTERM}, ended  # the latter is that of a JVM


def kib(file: Path) -> int:
    """The size of a file."""
    return round(file.stat().st_size / 1024)


TRY = {"typescript": try_typescript, "go": try_go, "java": try_java, "rust": try_rust}
"""What installs the packed client of a language in an empty project, and runs the example. Returns what that prints."""


@pytest.mark.parametrize("language", PACK)
def test_the_packed_client_works_in_a_project_of_its_own(
    language: str, dist: Path, tmp_path: Path, start_server: Callable[..., ServerProcess]
) -> None:
    # given
    LANGUAGES[language].require_tools()
    PACK[language](dist)
    project = tmp_path / "project"
    project.mkdir()

    # when
    printed, package = TRY[language](dist, project, start_server().address)

    # then
    for done in ("placed", "billed", "shipped"):
        assert len(re.findall(rf"^order.* is {done}", printed, re.MULTILINE)) == 3, printed
    check_row(package)
