"""The pages of the website. `make docs` builds it, and checks the links between them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from support import site
from support.documents import README, ROOT, links

if TYPE_CHECKING:
    from pathlib import Path


def test_the_pages_are_where_they_are_in_the_repository_with_their_pictures(tmp_path: Path) -> None:
    site.stage(tmp_path)
    staged = {str(file.relative_to(tmp_path)) for file in tmp_path.rglob("*") if file.is_file()}
    assert {"README.md", "docs/tutorial.md", "docs/dashboard.png", "docs/runbooks/DueBusDown.md"} <= staged
    assert {name for name in staged if name.endswith(".md")} == {str(page.relative_to(ROOT)) for page in site.pages()}


def test_a_link_to_a_file_that_is_no_page_leads_to_github(tmp_path: Path) -> None:
    site.stage(tmp_path)
    assert f"]({site.REPOSITORY}/blob/main/proto/duebus/v1/event_bus.proto)" in (tmp_path / "README.md").read_text()
    for page in site.pages():
        copy = tmp_path / page.relative_to(ROOT)
        inside = [target.partition("#")[0] for target in links(copy)]
        assert all((copy.parent / target).exists() for target in inside if target), page


def test_the_navigation_begins_for_newcomers_and_has_each_page_once() -> None:
    listed = [page for section in site.sections().values() for page in section.values()]
    assert listed[:2] == [README, ROOT / "docs" / "tutorial.md"]
    assert len(set(listed)) == len(listed)


def test_what_is_fetched_from_other_hosts_is_found_and_links_are_not(tmp_path: Path) -> None:
    (tmp_path / "page.html").write_text(
        '<link rel="stylesheet" href="https://fonts.example/a.css"><script defer src="//cdn.example/b.js"></script>'
        '<img src="picture.png"><a href="https://elsewhere.example">there</a>'
    )
    assert site.fetched_from_others(tmp_path) == {"https://fonts.example/a.css", "//cdn.example/b.js"}
