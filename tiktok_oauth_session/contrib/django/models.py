"""The tables: `SQLStore`'s two, and whose account is whose."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.db import models

from tiktok_oauth_session.contrib.django.columns import StoreColumn
from tiktok_oauth_session.stores.sql.table import DIGEST_LENGTH


class StoredToken(models.Model):
    """A row of `SQLStore`'s table of tokens: see `tiktok_oauth_session.stores.sql.token_table`.

    Described here for migrations, routers and the flushes of tests. `SQLStore` reads and writes it.
    """

    account: StoreColumn = StoreColumn(primary_key=True)
    client_key: StoreColumn = StoreColumn()
    open_id: StoreColumn = StoreColumn()
    document: StoreColumn = StoreColumn()
    expires_at: StoreColumn = StoreColumn(null=True)
    refresh_expires_at: StoreColumn = StoreColumn(null=True)
    refresh_token_digest: StoreColumn = StoreColumn(null=True)
    version: StoreColumn = StoreColumn()
    updated_at: StoreColumn = StoreColumn()

    class Meta:
        db_table = "tiktok_tokens"
        indexes: tuple[models.Index, ...] = (
            models.Index(fields=["expires_at", "account"], name="ix_tiktok_tokens_expires_at"),
            # Django's names have 30 characters at most, and `SQLStore`'s has more.
            models.Index(fields=["refresh_expires_at", "account"], name="ix_tiktok_tokens_refresh"),
        )

    def __str__(self) -> str:
        """Show whose token it is, and no more of it."""
        return str(self.open_id)


class TokenLock(models.Model):
    """A row of `SQLStore`'s table of leases."""

    account: StoreColumn = StoreColumn(primary_key=True)
    holder: StoreColumn = StoreColumn()
    expires: StoreColumn = StoreColumn()

    class Meta:
        db_table = "tiktok_tokens_locks"

    def __str__(self) -> str:
        """Show which account it is."""
        return str(self.account)


class TikTokAccount(models.Model):
    """Whose a TikTok account is. A user may have several, and an account has one user: the last to link it.

    It holds no token, and a transaction that writes it keeps nobody from the tokens.
    """

    #: What stands for client key and open_id, which may be too long for a key, as in `StoredToken`.
    account: models.CharField[Any, Any] = models.CharField(
        max_length=DIGEST_LENGTH, primary_key=True, editable=False
    )
    client_key: models.TextField[Any, Any] = models.TextField(editable=False)
    open_id: models.TextField[Any, Any] = models.TextField(editable=False)
    user: models.ForeignKey[Any, Any] = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.CASCADE, related_name="tiktok_accounts"
    )
    #: When the user logged in with it last.
    logged_in_at: models.DateTimeField[Any, Any] = models.DateTimeField()

    class Meta:
        db_table = "tiktok_accounts"
        verbose_name = "TikTok account"

    def __str__(self) -> str:
        """Show TikTok's name for it."""
        return str(self.open_id)
