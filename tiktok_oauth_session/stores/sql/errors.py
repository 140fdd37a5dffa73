"""What SQLAlchemy raises, told apart, and told again without what must not be told."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from sqlalchemy.exc import (
    DBAPIError,
    IntegrityError,
    OperationalError,
    SQLAlchemyError,
    TimeoutError as PoolTimeoutError,
)

from tiktok_oauth_session.errors import StoreError

# Connections that are lost although SQLAlchemy may not say so: MariaDB is shutting down; it was killed.
_LOST = ("1053", "1927")
# Transactions that the database undid for another's sake: PostgreSQL's, MariaDB's and MySQL's, SQLite's.
_UNDONE = ("40001", "40P01", "1205", "1213", "SQLITE_BUSY", "SQLITE_LOCKED")


class Kind(enum.Enum):
    """What to do about it."""

    LOST = "use a new connection"
    UNDONE = "do it again"
    UNREACHABLE = "wait for the database"
    POOL = "wait for a connection"
    REFUSED = "write another row"
    OTHER = "look into it"


#: What waiting does not mend.
NOT_PASSING = (Kind.REFUSED, Kind.OTHER)


class RowRefused(StoreError):
    """There is such a row already, or the table's rules forbid it."""


@dataclass(frozen=True)
class Trouble:
    """An error of SQLAlchemy's without statement, parameters, and the database's own words.

    All of them can hold a token: PostgreSQL quotes the row that it refuses.
    """

    kind: Kind
    what: str

    @classmethod
    def of(cls, error: SQLAlchemyError) -> Trouble:
        """Tell what an error means."""
        code = code_of(error)
        return cls(_kind_of(error, code), f"{type(error).__name__} {code}".strip())

    def error(self, doing: str, where: str, explanation: str | None) -> StoreError:
        """Make our error of it.

        Args:
            doing: What could not be done.
            where: The database's address.
            explanation: What is really wrong, if somebody has found out.
        """
        if self.kind is Kind.POOL:
            return StoreError(
                f"The engine's pool had no connection free to {doing}: whoever else uses the engine kept "
                "all of them for longer than its pool_timeout. Let its pool be larger, or give the store an "
                "engine of its own."
            )
        if self.kind in NOT_PASSING:
            source = (
                "https://www.sqlite.org/rescode.html" if "SQLITE_" in self.what else f"The log of {where}"
            )
            explanation = explanation or f"{source} says why."
        else:
            explanation = f"Call again when the database at {where} is up and not too busy."
        family = RowRefused if self.kind is Kind.REFUSED else StoreError
        return family(f"The database did not {doing} ({self.what}). {explanation}")


def code_of(error: SQLAlchemyError) -> str:
    """Return the database's own code for an error: SQLSTATE, a number, SQLite's name for it; or nothing."""
    cause = getattr(error, "orig", None)
    for name in ("sqlstate", "pgcode", "sqlite_errorname"):
        if code := getattr(cause, name, None):
            return str(code)
    first = cause.args[0] if cause is not None and cause.args else None
    if isinstance(first, int):
        return str(first)
    if isinstance(first, dict):
        # pg8000's.
        return str(first.get("C", ""))
    # Python 3.10's sqlite3 has no names.
    return "SQLITE_BUSY" if isinstance(first, str) and first.endswith("is locked") else ""


def _kind_of(error: SQLAlchemyError, code: str) -> Kind:
    if isinstance(error, PoolTimeoutError):
        return Kind.POOL
    if not isinstance(error, DBAPIError):
        return Kind.OTHER
    if error.connection_invalidated or code in _LOST:
        return Kind.LOST
    if code.startswith(_UNDONE):
        return Kind.UNDONE
    if isinstance(error, IntegrityError):
        return Kind.REFUSED
    # Without a statement: it was connecting.
    return Kind.UNREACHABLE if isinstance(error, OperationalError) and error.statement is None else Kind.OTHER
