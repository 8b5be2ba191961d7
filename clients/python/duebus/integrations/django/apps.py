"""The app, for INSTALLED_APPS."""

from django.apps import AppConfig

__all__ = ["DueBusConfig"]


class DueBusConfig(AppConfig):
    """Has the tables of the outbox, the inbox and of tasks."""

    name = "duebus.integrations.django"
    label = "duebus"
    verbose_name = "DueBus"
    default_auto_field = "django.db.models.BigAutoField"
