"""Where a Django project keeps TikTok's tokens."""

from __future__ import annotations

import functools

from django.conf import settings
from django.db import router
from django.utils.module_loading import import_string
from sqlalchemy import Engine

from tiktok_oauth_session.contrib.django.engines import engine_of
from tiktok_oauth_session.stores import TokenStore
from tiktok_oauth_session.stores.sql import SQLStore


def token_store() -> TokenStore:
    """Return the project's store: ``TIKTOK_OAUTH_STORE``, a store or the dotted path of one; or the database.

    Raises:
        ImproperlyConfigured: See `database_store`.
        ImportError: There is nothing at the dotted path.
    """
    store: TokenStore | str | None = getattr(settings, "TIKTOK_OAUTH_STORE", None)
    if store is None:
        return database_store()
    return import_string(store) if isinstance(store, str) else store


def database_store(using: str | None = None) -> SQLStore:
    """Return the store in one of ``DATABASES``. The migrations of this application make its tables.

    Its transactions are its own: whatever becomes of a request's (``ATOMIC_REQUESTS``), a token that was
    saved stays saved, and nobody waits for the request's end.

    Args:
        using: Which database; the one that the project's routers say, if None.

    Raises:
        ImproperlyConfigured: `SQLStore` knows no lock there.
    """
    from tiktok_oauth_session.contrib.django.models import StoredToken

    return _store(engine_of(using or router.db_for_write(StoredToken)))


@functools.cache
def _store(engine: Engine) -> SQLStore:
    return SQLStore(engine)
