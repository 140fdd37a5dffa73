"""The tables of `SQLStore`: their columns, and accounts and tokens as rows of them."""

from __future__ import annotations

import functools
import hashlib
import json
import re
import time
from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    Dialect,
    Double,
    Index,
    Inspector,
    MetaData,
    RowMapping,
    String,
    Table,
    Text,
    inspect,
)
from sqlalchemy.dialects import mysql
from sqlalchemy.types import TypeDecorator

from tiktok_oauth_session.errors import StoreError
from tiktok_oauth_session.stores import envelope
from tiktok_oauth_session.tokens import AccountKey, TikTokToken

TABLE_NAME = "tiktok_tokens"
#: What the name of the table of leases has after that of the tokens.
LEASES_SUFFIX = "_locks"
#: Characters of a digest: SHA-256 in hexadecimal.
DIGEST_LENGTH = 64
#: Characters that name a holder.
HOLDER_LENGTH = 32
#: Stands in `expires_at` where nobody knows when the token expires and it can be refreshed: it is due
#: before all others. (No infinity: MariaDB and MySQL have none.)
OVERDUE = -1e300

# Binary collations, so that no two keys are the same to the database, and so that the index needs no locale.
_DIGEST = (
    String(DIGEST_LENGTH)
    .with_variant(String(DIGEST_LENGTH, collation="C"), "postgresql")
    .with_variant(mysql.VARCHAR(DIGEST_LENGTH, charset="ascii", collation="ascii_bin"), "mysql", "mariadb")
)
_HOLDER = String(HOLDER_LENGTH).with_variant(
    mysql.VARCHAR(HOLDER_LENGTH, charset="ascii", collation="ascii_bin"), "mysql", "mariadb"
)
_KEY = Text().with_variant(mysql.TEXT(charset="utf8mb4", collation="utf8mb4_bin"), "mysql", "mariadb")
_DOCUMENT = Text().with_variant(mysql.LONGTEXT(charset="ascii", collation="ascii_bin"), "mysql", "mariadb")

# Both names: SQLAlchemy has a dialect for each.
_ENGINE: dict[str, Any] = {
    "mysql_engine": "InnoDB",
    "mariadb_engine": "InnoDB",
    "mysql_charset": "utf8mb4",
    "mariadb_charset": "utf8mb4",
}

# What neither PostgreSQL's text nor UTF-8 can hold, and the character that stands for it.
_UNSTORABLE = re.compile("[\x00\ud800-\udfff\\\\]")


def token_table(metadata: MetaData, table_name: str = TABLE_NAME) -> Table:
    """Describe the table, and that of its accounts' leases, in a `MetaData` of your own, as for Alembic.

    Its columns:

    - ``account``: A digest of client key and open_id, which themselves may be too long for a key.
    - ``client_key``, ``open_id``: Whose token it is. A backslash, a null character and half a surrogate pair
      stand there as a backslash and four hexadecimal digits.
    - ``document``: The token, as JSON in an envelope with a version.
    - ``expires_at``: When the access token expires (Unix time, seconds); `OVERDUE` if nobody knows and it
      can be refreshed, null if nobody knows and it cannot.
    - ``refresh_expires_at``: The same of the refresh token; null if nobody knows or there is none.
    - ``refresh_token_digest``: For the compare-and-swap: SHA-256, in hexadecimal.
    - ``version``: How often the row was written.
    - ``updated_at``: When it was written last (Unix time, seconds).

    Those of ``<table_name>_locks``, which SQLite leaves empty:

    - ``account``: As above.
    - ``holder``: A random text, another one each time that the lock is taken.
    - ``expires``: When the lease ends (Unix time, seconds, by the database's clock); 0 once it is released.

    Args:
        metadata: Where to describe them.
        table_name: What the store calls the table of tokens.
    """
    Table(
        table_name + LEASES_SUFFIX,
        metadata,
        Column("account", _DIGEST, primary_key=True),
        Column("holder", _HOLDER, nullable=False),
        Column("expires", Double, nullable=False),
        **_ENGINE,
    )
    return Table(
        table_name,
        metadata,
        Column("account", _DIGEST, primary_key=True),
        Column("client_key", _KEY, nullable=False),
        Column("open_id", _KEY, nullable=False),
        Column("document", _DOCUMENT, nullable=False),
        Column("expires_at", Double),
        Column("refresh_expires_at", Double),
        Column("refresh_token_digest", _DIGEST),
        Column("version", BigInteger, nullable=False),
        Column("updated_at", Double, nullable=False),
        # With the primary key in them: what expires at the same moment has an order, too.
        Index(f"ix_{table_name}_expires_at", "expires_at", "account"),
        Index(f"ix_{table_name}_refresh_expires_at", "refresh_expires_at", "account"),
        **_ENGINE,
    )


@functools.lru_cache(maxsize=64)
def shared_table(table_name: str) -> Table:
    """Describe the tables once for all stores: a web application makes one for each request."""
    return token_table(MetaData(), table_name)


def lease_table_of(tokens: Table) -> Table:
    """Return the table of the leases that belongs to one of tokens."""
    return tokens.metadata.tables[tokens.name + LEASES_SUFFIX]


def create(tokens: Table, connection: Connection) -> None:
    """Make the tables and their indexes, if they are not there."""
    for table in (tokens, lease_table_of(tokens)):
        table.create(connection, checkfirst=True)
    for index in tokens.indexes:
        # Where another process was killed between the two.
        index.create(connection, checkfirst=True)


def is_there(table: Table, connection: Connection) -> bool:
    """Tell whether there is a table of this name."""
    return inspect(connection).has_table(table.name)


def difference(tokens: Table, connection: Connection) -> str | None:
    """Tell why the tables that are there are not ours, and what to do; None if they are."""
    there = inspect(connection)
    found = (_difference(table, there) for table in (tokens, lease_table_of(tokens)))
    return next(filter(None, found), None)


def _difference(table: Table, there: Inspector) -> str | None:
    if not there.has_table(table.name):
        return f"There is no table {table.name}: call SQLStore.create_tables() once, or run your migrations."
    columns = {column["name"]: column for column in there.get_columns(table.name)}
    lacks = [column.name for column in table.columns if column.name not in columns]
    requires = [
        name
        for name, column in columns.items()
        if name not in table.columns and not column["nullable"] and column.get("default") is None
    ]
    if not lacks and not requires:
        return None
    differs = f"lacks {', '.join(lacks)}" if lacks else f"requires {', '.join(requires)}"
    return (
        f"Table {table.name} {differs}: another version of this package made it, or something else. Migrate "
        "it to what tiktok_oauth_session.stores.sql.metadata describes, or give the store another table_name."
    )


def digest(text: str) -> str:
    """Return what stands for a text in the table."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def account_of(key: AccountKey) -> str:
    """Return an account's primary key."""
    return digest(json.dumps([key.client_key, key.open_id]))


def row_of(key: AccountKey, token: TikTokToken) -> dict[str, Any]:
    """Return a token as a row, all but its version.

    Raises:
        StoreError: Something in it is not JSON.
    """
    document = envelope.written(key, token)
    # As it will be when it is loaded.
    token = TikTokToken(token)
    refreshable = token.refresh_token is not None
    unknown = OVERDUE if refreshable else None
    return {
        "account": account_of(key),
        "client_key": storable(key.client_key),
        "open_id": storable(key.open_id),
        "document": document,
        "expires_at": unknown if token.expires_at is None else float(token.expires_at),
        "refresh_expires_at": token.get("refresh_expires_at") if refreshable else None,
        "refresh_token_digest": digest(token.refresh_token) if token.refresh_token else None,
        "updated_at": time.time(),
    }


def key_of(row: RowMapping) -> AccountKey:
    """Return whose row it is."""
    return AccountKey(_stored(row["client_key"]), _stored(row["open_id"]))


def opened(key: AccountKey, document: str) -> TikTokToken:
    """Return an account's token.

    Raises:
        StoreError: The document is damaged, another account's, or of a later version.
    """
    try:
        return envelope.opened(document, key=key, mend="a new login replaces it, or else a backup")[1]
    except envelope.Unreadable as error:
        reason = str(error)
    # Raised out here: the error above has seen the document.
    raise StoreError(f"The row of account {key.open_id} {reason}.")


class Document(TypeDecorator[str]):
    """A document on its way from the database: SQLAlchemy's log of rows shows no more than that it is one."""

    impl: type[Text] = Text
    cache_ok: bool = True

    def process_result_value(self, value: str | None, dialect: Dialect) -> str | None:
        """Hide it from whoever logs it."""
        return None if value is None else _HiddenDocument(value)


class _HiddenDocument(str):
    __slots__ = ()

    def __repr__(self) -> str:
        return "<a token>"


def storable(text: str) -> str:
    """Return what stands for a key in its column: nearly always the key."""
    return _UNSTORABLE.sub(lambda found: f"\\{ord(found[0]):04x}", text)


def _stored(text: str) -> str:
    return re.sub(r"\\([0-9a-f]{4})", lambda found: chr(int(found[1], 16)), text)
