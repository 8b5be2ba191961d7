"""The settings of the shop."""

import os
from pathlib import Path

import django

BASE_DIR = Path(__file__).parent.parent
SECRET_KEY = "only-for-this-example"  # noqa: S105 - it protects nothing
DEBUG = True
ALLOWED_HOSTS = ["*"]
ROOT_URLCONF = "shop.urls"
USE_TZ = True
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": os.environ.get("SHOP_DATABASE", BASE_DIR / "shop.sqlite3"),
        "OPTIONS": {"transaction_mode": "IMMEDIATE", "timeout": 20},
    }
}

INSTALLED_APPS = ["django.contrib.contenttypes"]
INSTALLED_APPS += ["duebus.integrations.django", "django_tasks", "shop"]
if django.VERSION >= (6, 0):
    INSTALLED_APPS.remove("django_tasks")

DUEBUS = {"target": "127.0.0.1:50051"}
if "DUEBUS_SERVER" in os.environ:
    DUEBUS["target"] = os.environ["DUEBUS_SERVER"]
TASKS = {"default": {"BACKEND": "duebus.integrations.django.DueBusBackend", "OPTIONS": {"results": True}}}
