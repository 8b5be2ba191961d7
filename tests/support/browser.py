"""Chromium, as Playwright drives it, and what it saw."""

from __future__ import annotations

import os
import shutil
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import expect, sync_playwright

from support.documents import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser, Locator, Page

    from support.server_process import ServerProcess

AXE = ROOT / "node_modules/axe-core/axe.min.js"
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa"]
TIMEOUT_MS = 60_000


@contextmanager
def chromium() -> Iterator[Browser]:
    """Debian's Chromium. Without it the tests that need it are skipped, and fail in CI."""
    path = shutil.which("chromium") or shutil.which("chromium-browser")
    if path is None or not AXE.exists():
        reason = "chromium or node_modules is missing: `make browser` installs both"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    expect.set_options(timeout=TIMEOUT_MS)
    with sync_playwright() as playwright:
        # A sandbox needs rights that a container does not have. Only pages of our own servers are opened.
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


class Visitor:
    """A browser of its own on the dashboard of a server.

    Args:
        browser: runs it.
        url: of the server.
        expects: lines of the console with this text are no trouble.
        settings: of the browser's context.

    Attributes:
        page: what it shows.
    """

    def __init__(self, browser: Browser, url: str, expects: str | None = None, **settings: Any) -> None:
        self.url = url
        self._context = browser.new_context(**settings)
        self._context.set_default_timeout(TIMEOUT_MS)
        self.page: Page = self._context.new_page()
        self._expects = expects
        self._hosts: set[str] = set()
        self._complaints: list[str] = []
        self.page.on("request", lambda request: self._hosts.add(urlsplit(request.url).netloc))
        self.page.on("console", lambda message: self._complain(message.text))
        self.page.on("pageerror", lambda error: self._complain(str(error)))

    def _complain(self, text: str) -> None:
        if self._expects is None or self._expects not in text:
            self._complaints.append(text)

    def open(self, address: str = "#/", wait_for: str = "main h1") -> Page:
        """Show a page of the dashboard, once it has its data."""
        self.page.goto(f"{self.url}/{address}")
        self.page.wait_for_selector(wait_for, state="attached")
        return self.page

    def accessibility_problems(self) -> list[str]:
        """What axe finds, each with the element."""
        self.page.evaluate(AXE.read_text())
        found = self.page.evaluate("(rules) => axe.run(document, { runOnly: rules })", RULES)
        return [f"{each['id']}: {node['html']}" for each in found["violations"] for node in each["nodes"]]

    def close(self) -> None:
        """Close it. Nothing was asked of another host, and nothing was written to the console."""
        self._context.close()
        assert self._hosts <= {urlsplit(self.url).netloc}
        assert self._complaints == []


def at(page: str, server: ServerProcess, **query: str) -> str:
    """The address of a page that shows something of the server's default engine."""
    given = "&".join(f"{name}={value}" for name, value in {"engine": server.engines[0], **query}.items())
    return f"#/{page}?{given}"


def table(page: Page, label: str) -> Locator:
    """The table with this label."""
    return page.get_by_role("region", name=label, exact=True)


def row(page: Page, label: str, text: str) -> Locator:
    """The row of a table that has this text."""
    return table(page, label).get_by_role("row").filter(has_text=text)
