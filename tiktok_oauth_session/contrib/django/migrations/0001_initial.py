"""`SQLStore`'s tables, and whose account is whose."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models
from django.db.migrations.operations.base import Operation

from tiktok_oauth_session.contrib.django.columns import StoreColumn


class Migration(migrations.Migration):
    """The first."""

    initial: ClassVar[bool] = True

    dependencies: ClassVar[Sequence[tuple[str, str]]] = (
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    )

    operations: ClassVar[Sequence[Operation]] = (
        migrations.CreateModel(
            name="TokenLock",
            fields=[
                ("account", StoreColumn(primary_key=True, serialize=False)),
                ("holder", StoreColumn()),
                ("expires", StoreColumn()),
            ],
            options={
                "db_table": "tiktok_tokens_locks",
            },
        ),
        migrations.CreateModel(
            name="StoredToken",
            fields=[
                ("account", StoreColumn(primary_key=True, serialize=False)),
                ("client_key", StoreColumn()),
                ("open_id", StoreColumn()),
                ("document", StoreColumn()),
                ("expires_at", StoreColumn(null=True)),
                ("refresh_expires_at", StoreColumn(null=True)),
                ("refresh_token_digest", StoreColumn(null=True)),
                ("version", StoreColumn()),
                ("updated_at", StoreColumn()),
            ],
            options={
                "db_table": "tiktok_tokens",
                "indexes": [
                    models.Index(fields=["expires_at", "account"], name="ix_tiktok_tokens_expires_at"),
                    models.Index(fields=["refresh_expires_at", "account"], name="ix_tiktok_tokens_refresh"),
                ],
            },
        ),
        migrations.CreateModel(
            name="TikTokAccount",
            fields=[
                (
                    "account",
                    models.CharField(editable=False, max_length=64, primary_key=True, serialize=False),
                ),
                ("client_key", models.TextField(editable=False)),
                ("open_id", models.TextField(editable=False)),
                ("logged_in_at", models.DateTimeField()),
                (
                    "user",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="tiktok_accounts",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
            ],
            options={
                "verbose_name": "TikTok account",
                "db_table": "tiktok_accounts",
            },
        ),
    )
