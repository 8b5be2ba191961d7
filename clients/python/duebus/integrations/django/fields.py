"""Text as MySQL and MariaDB have to keep it. On other databases these are Django's own fields."""

from typing import Any

from django.db import models

__all__ = ["ExactField", "Utf8CharField", "Utf8TextField"]


class ExactField(models.CharField):
    """Up to 255 bytes, compared byte by byte: the collations of MySQL ignore case, or spaces at the end."""

    def db_type(self, connection: Any) -> str:
        """The type of the column."""
        return "varbinary(255)" if connection.vendor == "mysql" else str(super().db_type(connection))

    def from_db_value(self, value: Any, *_: Any) -> Any:
        """Turn what a query has found into text."""
        return value.decode() if isinstance(value, bytes) else value


class _Utf8:
    """Has the character set utf8mb4 and differs by case, whatever the database's default is."""

    def db_parameters(self, connection: Any) -> Any:
        """The type and the collation of the column."""
        parameters = super().db_parameters(connection)  # type: ignore[misc]  # of a field
        return {**parameters, "collation": "utf8mb4_bin"} if connection.vendor == "mysql" else parameters


class Utf8CharField(_Utf8, models.CharField):
    """A short one."""


class Utf8TextField(_Utf8, models.TextField):
    """A long one."""
