"""Makes a target of each client whose toolchain is here: `each.py TARGET [LANGUAGE...]`.

A missing toolchain is one line on standard error; in CI it is an error. So is whatever `make` says.
"""

import os
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).parents[1]
REGISTRY = ROOT / "tests/conformance/languages.toml"


def main(target: str, languages: list[str]) -> int:
    """Makes the target of these clients, or of all; the exit status."""
    failed = [name for name, folder in _usable(languages) if not _make(target, folder)]
    if failed:
        print(f"make {target} failed for: {', '.join(failed)}", file=sys.stderr)
    return bool(failed)


def _usable(languages: list[str]) -> Iterable[tuple[str, Path]]:
    registry = tomllib.loads(REGISTRY.read_text())
    for name in languages or registry:
        missing = [tool for tool in registry[name]["tools"] if shutil.which(tool) is None]
        if not missing:
            yield name, ROOT / "clients" / name
        elif os.environ.get("CI"):
            sys.exit(f"clients/{name}: missing: {', '.join(missing)}")
        else:
            print(f"clients/{name}: left out, missing: {', '.join(missing)}", file=sys.stderr)


def _make(target: str, folder: Path) -> bool:
    if target == "generated-check":
        return _is_current(folder)
    command = ["make", "--no-print-directory", "-C", str(folder), target]
    return subprocess.run(command, check=False).returncode == 0


def _is_current(folder: Path) -> bool:
    """Generates, and says whether that changed anything; what it changed stays."""
    before = _content(folder)
    if not _make("generate", folder):
        return False
    after = _content(folder)
    stale = sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))
    for name in stale:
        print(f"{name} was not what is generated. It is now: commit it.", file=sys.stderr)
    return not stale


def _content(folder: Path) -> dict[str, bytes]:
    """Every file that git has or would take."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "--", str(folder)]
    names = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout.splitlines()
    return {name: (ROOT / name).read_bytes() for name in names if (ROOT / name).is_file()}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))
