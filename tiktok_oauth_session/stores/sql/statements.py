"""What `SQLStore` says to a database; made once, since that takes longer than sending it."""

from __future__ import annotations

import functools
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Delete,
    Double,
    Insert,
    Select,
    Table,
    Update,
    bindparam,
    delete,
    exists,
    func,
    insert,
    literal_column,
    or_,
    select,
    true,
    type_coerce,
    update,
)

from tiktok_oauth_session.stores.sql.table import Document, lease_table_of

#: How a database tells the time (seconds, with fractions), by the name of SQLAlchemy's dialect: as of when
#: the statement began, and without a time zone, whose clocks may be set back.
CLOCKS = {
    "postgresql": "extract(epoch from now())",
    "mysql": "timestampdiff(microsecond, '1970-01-01', utc_timestamp(6)) / 1e6",
    "mariadb": "timestampdiff(microsecond, '1970-01-01', utc_timestamp(6)) / 1e6",
}

# Spares PostgreSQL's transaction the wait for the disk, and for standbys. If a crash undoes the taking of a
# lease, the mark, which waits for all that was written before it, finds that out; an undone release ends by
# itself.
_NOT_FLUSHED = func.set_config("synchronous_commit", "off", true())


class TokenStatements:
    """What is said about a table of tokens.

    Parameters: `of`, the account; what is written has the name of its column.

    Args:
        tokens: The table.
    """

    def __init__(self, tokens: Table) -> None:
        row = tokens.c
        mine = row.account == bindparam("of")
        written = update(tokens).where(mine).values(version=row.version + 1)
        self.load: Select[Any] = select(type_coerce(row.document, Document())).where(mine)
        self.put: Update = written
        #: `spent`: the digest of the refresh token that is replaced.
        self.swap: Update = written.where(row.refresh_token_digest == bindparam("spent"))
        self.add: Insert = insert(tokens).values(version=1)
        self.delete: Delete = delete(tokens).where(mine)


class LeaseStatements(TokenStatements):
    """What is said about a table of tokens and that of its accounts' leases.

    Parameters: `of`, the account; `me`, the holder; `seconds`, how long the lease is to be.

    Args:
        tokens: The table of tokens.
        dialect: The name of the database's dialect.
    """

    def __init__(self, tokens: Table, dialect: str) -> None:
        super().__init__(tokens)
        leases = lease_table_of(tokens)
        row = leases.c
        now: ColumnElement[float] = literal_column(CLOCKS[dialect], Double())
        account, me = row.account == bindparam("of"), row.holder == bindparam("me")
        begins = {"holder": bindparam("me"), "expires": now + bindparam("seconds", type_=Double())}
        #: Takes one that is free, or ours: where the answer to an earlier try was lost.
        self.take: Update = update(leases).where(account, or_(me, row.expires <= now)).values(begins)
        self.is_held: Select[Any] = select(row.expires > now).where(account)
        self.add_lease: Insert = insert(leases).values(account=bindparam("of"), **begins)
        #: `accounts`, `holders`: of all leases that are renewed. One that is over is, if nobody has taken it.
        self.renew: Update = (
            update(leases)
            .where(
                row.account.in_(bindparam("accounts", expanding=True)),
                row.holder.in_(bindparam("holders", expanding=True)),
            )
            .values(expires=begins["expires"])
        )
        self.release: Update = update(leases).where(account, me).values(expires=0.0)
        if dialect == "postgresql":
            self.release = self.release.returning(_NOT_FLUSHED)
        self.delete_lease: Delete = delete(leases).where(account, me)
        lease_is_mine = exists().where(account, me, row.expires > now)
        self.mark: Update = self.swap.where(lease_is_mine)
        #: On PostgreSQL: takes and loads in one, and tells whether it is held, or there is none (no row).
        self.take_and_load: Select[Any] = _take_and_load(self.take, tokens, leases)


def _take_and_load(take: Update, tokens: Table, leases: Table) -> Select[Any]:
    # A statement sees the tables as they were when it began. Where its UPDATE has had to wait for another's,
    # it looks at the lease again, but at no token: somebody may have taken the lease, saved and released it
    # in between. Each taking has another holder: nobody has, if the holder still is the one that was seen.
    seen, before = leases.alias("seen"), leases.alias("before")
    taken = (
        take.where(seen.c.account == leases.c.account, seen.c.holder == leases.c.holder)
        .returning(leases.c.account)
        .cte("taken")
    )
    return (
        select(taken.c.account, type_coerce(tokens.c.document, Document()), _NOT_FLUSHED)
        .select_from(before.outerjoin(taken, true()).outerjoin(tokens, tokens.c.account == taken.c.account))
        .where(before.c.account == bindparam("of"))
    )


@functools.lru_cache(maxsize=64)
def token_statements(tokens: Table) -> TokenStatements:
    """Return the statements on a table of tokens."""
    return TokenStatements(tokens)


@functools.lru_cache(maxsize=64)
def lease_statements(tokens: Table, dialect: str) -> LeaseStatements:
    """Return the statements on a table of tokens and that of their leases."""
    return LeaseStatements(tokens, dialect)
