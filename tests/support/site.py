"""The website of the documentation: `make docs` builds it into build/site.

Its pages are the documents as they are, in the folders that they have here, so the links between them work there too. A
link to another file of the repository leads to GitHub. docs/README.md decides which pages there are, and their order.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from support.documents import LINK, README, ROOT, links

REPOSITORY = "https://github.com/duebus/duebus"
INDEX = ROOT / "docs" / "README.md"
BUILD = ROOT / "build" / "docs"

FEATURES = ["navigation.sections", "navigation.top", "content.code.copy"]
EXTENSIONS = ["  - tables", "  - pymdownx.highlight", "  - pymdownx.superfences"]
QUIET = {"NO_MKDOCS_2_WARNING": "1"}
"""Silences an advertisement of mkdocs-material."""

Pages = dict[str, Path]
"""Documents by title."""

_FETCHED = re.compile(r"<(?:script|link|img|iframe)\b[^>]*?\b(?:src|href)=[\"']?((?:https?:)?//[^\"'\s>]+)")
_ENTRY = re.compile(r"\[([^]]+)\]\(([^)#\s]+\.md)\)")


def sections() -> dict[str, Pages]:
    """The sections of the index, each with its pages."""
    found: dict[str, Pages] = {}
    for part in INDEX.read_text().split("\n## ")[1:]:
        heading, _, text = part.partition("\n")
        rows = "".join(line.split("|")[1] for line in text.splitlines() if line.startswith("| ["))
        found[heading] = {title: (INDEX.parent / target).resolve() for title, target in _ENTRY.findall(rows)}
    return found


def pages() -> list[Path]:
    """The index, its pages, and those beside a README.md among them, such as the runbooks."""
    listed = [page for section in sections().values() for page in section.values()]
    folders = [page.parent for page in listed if page.name == "README.md" and page.parent.parent == INDEX.parent]
    below = [page for folder in folders for page in sorted(folder.glob("*.md")) if page not in listed]
    return [INDEX, *listed, *below]


def stage(folder: Path) -> None:
    """Copy the pages and their pictures to a folder, with the links that leave the site made absolute."""
    for page in pages():
        target = folder / page.relative_to(ROOT)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(_with_absolute_links(page))
        for picture in (page.parent / link for link in links(page) if link.endswith((".png", ".svg"))):
            copy = folder / picture.resolve().relative_to(ROOT)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(picture, copy)


def _with_absolute_links(page: Path) -> str:
    on_site = set(pages())

    def absolute(link: re.Match[str]) -> str:
        name, hash_mark, anchor = link[1].partition("#")
        file = (page.parent / name).resolve()
        if not name or "://" in name or file in on_site or file.suffix in (".png", ".svg"):
            return link[0]
        kind = "tree" if file.is_dir() else "blob"
        return f"]({REPOSITORY}/{kind}/main/{file.relative_to(ROOT)}{hash_mark}{anchor})"

    # rustdoc's attributes of a block are none of Markdown's.
    return re.sub(r"^```rust,\w+$", "```rust", LINK.sub(absolute, page.read_text()), flags=re.MULTILINE)


def configuration() -> str:
    """The configuration of MkDocs, as YAML."""
    navigation: list[Any] = [{"Home": "README.md"}, {"All pages": str(INDEX.relative_to(ROOT))}]
    for heading, section in sections().items():
        named = [{title: str(page.relative_to(ROOT))} for title, page in section.items() if page != README]
        navigation.append({heading: named})
    settings = {
        "site_name": "DueBus",
        "site_description": "An event bus as a gRPC service",
        "repo_url": REPOSITORY,
        "docs_dir": "pages",
        "nav": navigation,
        "plugins": ["search"],
        "theme": {"name": "material", "font": False, "features": FEATURES},
        "validation": {"anchors": "warn", "unrecognized_links": "warn", "omitted_files": "ignore"},
    }
    # Lines of YAML, each a value in JSON. An anchor is made of a heading as GitHub makes it.
    lines = [f"{name}: {json.dumps(value)}" for name, value in settings.items()]
    slugs = "!!python/object/apply:pymdownx.slugs.slugify {kwds: {case: lower}}"
    return "\n".join([*lines, "markdown_extensions:", f"  - toc: {{permalink: true, slugify: {slugs}}}", *EXTENSIONS])


def fetched_from_others(folder: Path) -> set[str]:
    """What browsers fetch from other hosts to show the pages of a folder."""
    texts = (page.read_text() for page in folder.rglob("*.html"))
    return {address for text in texts for address in _FETCHED.findall(text)}


def main() -> int:
    """Build the site; the exit status."""
    shutil.rmtree(BUILD, ignore_errors=True)
    stage(BUILD / "pages")
    (BUILD / "mkdocs.yml").write_text(configuration())
    command = [sys.executable, "-m", "mkdocs", "build", "--strict"]
    status = subprocess.run(command, cwd=BUILD, env={**os.environ, **QUIET}, check=False).returncode
    if status == 0 and (fetched := fetched_from_others(BUILD / "site")):
        print("the pages fetch from other hosts:", *sorted(fetched), file=sys.stderr)  # noqa: T201  # of a command
        return 1
    return status


if __name__ == "__main__":
    sys.exit(main())
