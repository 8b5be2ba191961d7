"""The steps of the Dockerfile, carried out here, and what they make, run as the image runs it."""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from support.image import IMAGE_USER, build
from support.users import as_user

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="module")
def opt() -> Iterator[Path]:
    """/opt of the image. Not in tmp_path, where no other user may look."""
    root = Path(tempfile.mkdtemp(prefix="duebus-image-"))
    root.chmod(0o755)
    try:
        build(root)
        shutil.rmtree(root / "src")
        yield root / "opt"
    finally:
        shutil.rmtree(root, ignore_errors=True)


def run_as_in_the_image(opt: Path, *arguments: str) -> subprocess.Popen[str]:
    """A command in a folder that it can't write to, as the image's user where this one may choose."""
    environment = {
        "PATH": f"{opt}/duebus/bin:/usr/bin:/bin",
        "LD_LIBRARY_PATH": f"{opt.parent}/usr/local/lib",  # of the copy of Python, where there is one
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONUNBUFFERED": "1",
    }
    return subprocess.Popen(
        as_user(IMAGE_USER, *arguments),
        cwd="/",
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.timeout(900)
def test_the_server_serves_is_healthy_and_ends_on_sigterm(opt: Path) -> None:
    with run_as_in_the_image(opt, "duebus", "serve", "--listen", "127.0.0.1:0") as server:
        assert server.stdout
        ready = re.fullmatch(r"duebus ready on (\S+) engines=local\n", server.stdout.readline())
        assert ready, server.communicate(timeout=180)

        with run_as_in_the_image(opt, "duebus", "health", "--server", ready[1], "--timeout", "30s") as check:
            out, err = check.communicate(timeout=180)
            assert (check.returncode, out, err) == (0, f"the server at {ready[1]} is serving\n", "")

        server.send_signal(signal.SIGTERM)
        _, log = server.communicate(timeout=180)
        assert server.returncode == 0, log
        assert "draining" in log


@pytest.mark.timeout(900)
def test_the_image_has_no_build_tools(opt: Path) -> None:
    packages = {each.name.partition("-")[0] for each in (opt / "duebus" / "lib").rglob("*.dist-info")}
    assert "duebus" in packages
    assert packages.isdisjoint({"pip", "setuptools", "wheel", "hatchling", "pytest"})


@pytest.mark.timeout(900)
def test_python_writes_nothing_at_run_time(opt: Path) -> None:
    library = opt / "duebus" / "lib"
    sources = {each for each in library.rglob("*.py") if each.relative_to(library).parts[2].startswith("duebus")}
    compiled = {each.parent.parent / f"{each.name.split('.')[0]}.py" for each in library.rglob("*.pyc")}
    assert len(sources) > 100
    assert sources <= compiled
