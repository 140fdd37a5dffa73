"""What a forked child must not inherit."""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable
from typing import Any, TypeVar

_T = TypeVar("_T")

_forgetful: weakref.WeakKeyDictionary[Any, Callable[[Any], None]] = weakref.WeakKeyDictionary()


def after_fork_in_child(owner: _T, forget: Callable[[_T], None]) -> None:
    """Call ``forget(owner)`` in every forked child, for as long as the owner lives.

    Locks held by threads that do not exist there would never be released, and connections shared
    with the parent would mix two conversations. Where there is no fork (Windows), nothing happens.
    """
    _forgetful[owner] = forget


def _forget_all() -> None:
    for owner, forget in list(_forgetful.items()):
        forget(owner)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_all)
