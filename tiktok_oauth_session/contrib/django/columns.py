"""Columns that `SQLStore` describes, for Django's migrations."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.db import models

from tiktok_oauth_session.contrib.django.engines import dialect_of
from tiktok_oauth_session.stores.sql import metadata

if TYPE_CHECKING:
    _Field = models.Field[Any, Any]
else:
    # Which takes no arguments when it runs.
    _Field = models.Field


class StoreColumn(_Field):
    """A column of `SQLStore`'s, of the type that it has there: each database has its own collations."""

    def db_type(self, connection: Any) -> str:
        """Return the type in a database."""
        assert self.column is not None  # noqa: S101 - for mypy: a field of a model has one
        table = self.model._meta.db_table  # noqa: SLF001 - public, for all its name
        column = metadata.tables[table].c[self.column]
        return column.type.compile(dialect=dialect_of(connection))
