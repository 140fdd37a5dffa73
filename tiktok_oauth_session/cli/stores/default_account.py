"""Which of several accounts is meant when none is named: what the user of this machine has chosen."""

from __future__ import annotations

import contextlib
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tiktok_oauth_session._plain_errors import StoreError
from tiktok_oauth_session.cli.settings.folders import state_folder
from tiktok_oauth_session.stores.private_files import lock_file, read_file, replace_file

if TYPE_CHECKING:
    from tiktok_oauth_session.tokens import AccountKey

#: Seconds to wait for another command that writes the file.
LOCK_TIMEOUT_S = 5.0

#: By the place of a store, and then by client key: the open_id.
_Chosen = dict[str, dict[str, str]]


def defaults_among(place: str, keys: Sequence[AccountKey], *, are_all: bool = True) -> list[AccountKey]:
    """Return the account of each app that is meant when none is named: its only one, or the chosen one.

    Args:
        place: Where the store is.
        keys: Some accounts.
        are_all: Whether their apps have no others.
    """
    counts = Counter(key.client_key for key in keys)
    alone = {key for key in keys if are_all and counts[key.client_key] == 1}
    chosen = _chosen().get(place, {}) if len(alone) < len(keys) else {}
    return [key for key in keys if key in alone or chosen.get(key.client_key) == key.open_id]


def make_default(place: str, key: AccountKey) -> None:
    """Let an account be meant from now on.

    Raises:
        StoreError: That cannot be kept.
    """
    with _changing() as chosen:
        chosen.setdefault(place, {})[key.client_key] = key.open_id


def forget_default(place: str, key: AccountKey) -> None:
    """Let an account that is gone not be meant any more.

    Raises:
        StoreError: That cannot be kept.
    """
    if _chosen().get(place, {}).get(key.client_key) != key.open_id:
        return
    with _changing() as chosen:
        chosen[place] = {app: user for app, user in chosen.get(place, {}).items() if (app, user) != key}


def _path() -> Path:
    return state_folder() / "default_accounts.json"


def _chosen() -> _Chosen:
    try:
        content = json.loads(read_file(_path()) or b"{}")
    except (ValueError, RecursionError):
        return {}
    places = content.items() if isinstance(content, dict) else ()
    return {place: apps for place, apps in places if isinstance(apps, dict)}


@contextlib.contextmanager
def _changing() -> Iterator[_Chosen]:
    path = _path()
    with lock_file(path.with_suffix(".lock"), LOCK_TIMEOUT_S, root=path.parent) as held:
        if not held:
            raise StoreError(f"Another command has been writing {path} for {LOCK_TIMEOUT_S:g} s.")
        chosen = _chosen()
        yield chosen
        replace_file(path, json.dumps(chosen, indent=2).encode(), aside=None, durable=False)
