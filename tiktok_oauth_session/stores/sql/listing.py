"""Rows of the table of tokens in an order, page after page, each of which begins in an index."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from sqlalchemy import Column, ColumnElement, RowMapping, Select, Table, and_, literal, or_, select, tuple_

#: How many rows are asked for at once.
PAGE_LENGTH = 1000

#: Sends a query; between two pages it keeps nothing from those who work on what is listed.
Fetch = Callable[[Select[Any]], Sequence[RowMapping]]


def rows(fetch: Fetch, tokens: Table, where: list[ColumnElement[bool]]) -> Iterator[RowMapping]:
    """Yield the rows that fulfil conditions, by account."""
    account = tokens.c.account
    after: list[ColumnElement[bool]] = []
    while page := fetch(_page(tokens, [account], [*where, *after])):
        yield from page
        after = [account > page[-1]["account"]]


def due_rows(
    fetch: Fetch, tokens: Table, column: Column[Any], before: float, *, compares_rows_by_index: bool
) -> Iterator[RowMapping]:
    """Yield the rows in whose column is an earlier time, soonest first.

    Args:
        fetch: Sends a query.
        tokens: The table.
        column: Which of its columns; there is an index on it and the account.
        before: Unix time in seconds.
        compares_rows_by_index: Whether ``(a, b) > (1, 2)`` is looked up in an index; else it is spelt out.
    """
    # Not all databases have an infinity.
    due = column < min(max(before, -sys.float_info.max), sys.float_info.max)
    account = tokens.c.account
    after: list[ColumnElement[bool]] = []
    while page := fetch(_page(tokens, [column, account], [due, *after])):
        yield from page
        moment, name = page[-1][column.name], page[-1]["account"]
        if compares_rows_by_index:
            after = [tuple_(column, account) > tuple_(literal(moment), literal(name))]
        else:
            after = [or_(column > moment, and_(column == moment, account > name))]


def _page(tokens: Table, order: list[Column[Any]], where: list[ColumnElement[bool]]) -> Select[Any]:
    columns = dict.fromkeys([*order, tokens.c.account, tokens.c.client_key, tokens.c.open_id])
    return select(*columns).where(*where).order_by(*order).limit(PAGE_LENGTH)
