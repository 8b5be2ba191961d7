"""Starts and ends the drivers."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from conformance.driver import Driver

if TYPE_CHECKING:
    from pathlib import Path

    from conformance.languages import Language


class Drivers:
    """The driver that is running: one at a time, that of the current language. Thread-safe within a language."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        self._built: set[str] = set()
        self._language = ""
        self._driver: Driver | None = None

    def get(self, language: Language) -> Driver:
        """The language's driver, built and started if it is not running."""
        with self._lock:
            if self._driver is None or self._language != language.name:
                self._close()
                self._driver = self._start(language)
            return self._driver

    def discard(self, driver: Driver) -> None:
        """Called after a failure: if the driver no longer answers, the next case gets a new one."""
        with self._lock:
            if self._driver is driver and not driver.works:
                driver.kill()
                self._driver = None

    def close(self) -> None:
        """End the driver as the protocol requires."""
        with self._lock:
            self._close()

    def _close(self) -> None:
        if self._driver is not None:
            driver, self._driver = self._driver, None
            assert driver.close() == 0, driver.log_tail()

    def _start(self, language: Language) -> Driver:
        language.require_tools()
        if language.name not in self._built:
            language.build_driver()
            self._built.add(language.name)
        self._language = language.name
        driver = Driver(language, self._folder / f"{language.name}.log")
        assert driver.call("hello") == {"language": language.name, "protocol": 1}
        return driver
