"""A Django project for tests, whose default database changes from test to test."""

from __future__ import annotations

import importlib.util
from typing import Any
from urllib.parse import urlsplit

import django
import pymysql
from django.conf import settings
from django.core.management import call_command
from django.db import connections

TASKS_APP = [] if importlib.util.find_spec("django.tasks") else ["django_tasks"]
BACKEND = "duebus.integrations.django.DueBusBackend"


def set_up() -> None:
    """Configure Django, unless it is."""
    if settings.configured:
        return
    pymysql.version_info = (2, 2, 1, "final", 0)  # that of mysqlclient, in whose place it is
    pymysql.install_as_MySQLdb()
    settings.configure(
        DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
        INSTALLED_APPS=["duebus.integrations.django", *TASKS_APP],
        TASKS={"default": {"BACKEND": BACKEND, "QUEUES": ["default", "mail"], "OPTIONS": {"results": True}}},
        USE_TZ=True,
        LOGGING_CONFIG=None,
    )
    django.setup()


def use_database(url: str) -> None:
    """Make it the default database, with the app's tables.

    Args:
        url: As for SQLAlchemy.
    """
    connections.settings["default"] = connections.configure_settings({"default": _settings_of(url)})["default"]
    if hasattr(connections._connections, "default"):
        connections["default"].close()
        del connections["default"]
    call_command("migrate", verbosity=0)


def _settings_of(url: str) -> dict[str, Any]:
    parts = urlsplit(url)
    if parts.scheme == "sqlite":
        options = {"transaction_mode": "IMMEDIATE", "timeout": 20}
        return {"ENGINE": "django.db.backends.sqlite3", "NAME": parts.path[1:], "OPTIONS": options}
    return {
        "ENGINE": f"django.db.backends.{'postgresql' if parts.scheme.startswith('postgresql') else 'mysql'}",
        "NAME": parts.path[1:],
        "USER": parts.username,
        "HOST": parts.hostname,
        "PORT": str(parts.port),
    }
