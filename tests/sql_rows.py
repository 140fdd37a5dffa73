"""What tests do to a store's table behind its back, and how they see what the store does to it."""

from __future__ import annotations

import sqlalchemy
from sqlalchemy import event


def execute(engine, statement, **parameters):
    """Do to the database what the store does not."""
    with engine.begin() as connection:
        result = connection.execute(sqlalchemy.text(statement), parameters)
        return result.mappings().all() if result.returns_rows else []


#: For each dialect: how to count up to :count, and account and open_id as functions of n. The accounts are in
#: another order than the expiries.
NUMBERED = {
    "postgresql": ("SELECT generate_series(1, :count) AS n", "md5(n::text)", "'user-' || n"),
    "mysql": ("SELECT seq AS n FROM seq_1_to_1000000 LIMIT :count", "md5(n)", "concat('user-', n)"),
    "sqlite": (
        "WITH RECURSIVE t(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM t WHERE n < :count) SELECT n FROM t",
        "printf('%08d', n * 7919 % 1000000)",
        "'user-' || n",
    ),
}
FILL = """
INSERT INTO tiktok_tokens
(account, client_key, open_id, document, expires_at, refresh_expires_at, version, updated_at)
SELECT {1}, 'key', {2}, '{{}}', n, n * 2, 1, 0 FROM ({0}) AS numbers
"""


def fill(engine, count):
    """Put many rows into the table, without the store."""
    execute(engine, FILL.format(*NUMBERED[engine.dialect.name]).replace("::", "\\:\\:"), count=count)


def statements_of(engine, use):
    """Return the statements, with parameters, that a use of the store sends."""
    sent = []

    def record(connection, cursor, statement, parameters, context, executemany):
        sent.append((statement, parameters))

    event.listen(engine, "before_cursor_execute", record)
    use()
    event.remove(engine, "before_cursor_execute", record)
    return sent


def plan_of(engine, statement, parameters):
    """Return how the database would go about a statement, as one text."""
    explain = "EXPLAIN QUERY PLAN" if engine.dialect.name == "sqlite" else "EXPLAIN"
    with engine.begin() as connection:
        rows = connection.exec_driver_sql(f"{explain} {statement}", parameters).all()
    return "\n".join(" ".join(map(str, row)) for row in rows)


def assert_plan_uses(index, plan):
    """See that a plan finds rows, and their order, in an index."""
    assert index in plan
    assert not [
        word for word in ("Seq Scan", "Sort", "filesort", "TEMP B-TREE", "SCAN ", " ALL ") if word in plan
    ]
