"""The accounts of a store of ours, as Flask-Dance stores tokens."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import flask

from tiktok_oauth_session.stores import TokenStore
from tiktok_oauth_session.tokens import AccountKey, TikTokToken

if TYPE_CHECKING:
    from tiktok_oauth_session.contrib.flask_dance.blueprint import TikTokBlueprint

    class BaseStorage:
        """What Flask-Dance's is to whoever uses ours."""
else:
    from flask_dance.consumer.storage import BaseStorage


class AccountStorage(BaseStorage):
    """Keeps tokens in a store of ours, and in the visitor's web session whose is theirs."""

    def __init__(self, store: TokenStore, open_id: Callable[[], str | None] | None) -> None:
        self._store, self._open_id = store, open_id

    def account(self, blueprint: TikTokBlueprint) -> str | None:
        """Return whose token the visitor uses."""
        if self._open_id is not None:
            return self._open_id()
        known: str | None = flask.session.get(_key(blueprint))
        return known

    def get(self, blueprint: TikTokBlueprint) -> TikTokToken | None:
        """Return the visitor's token."""
        open_id = self.account(blueprint)
        return self._store.load(AccountKey(blueprint.client_id, open_id)) if open_id else None

    def set(self, blueprint: TikTokBlueprint, token: Mapping[str, Any]) -> None:
        """Keep a token, and remember that it is this visitor's."""
        open_id = token["open_id"]
        blueprint.session.token = token
        if self._open_id is None:
            flask.session[_key(blueprint)] = open_id

    def delete(self, blueprint: TikTokBlueprint) -> None:
        """Forget whose token the visitor's is, unless the application knows that; the connection stays."""
        flask.session.pop(_key(blueprint), None)


def _key(blueprint: TikTokBlueprint) -> str:
    return f"{blueprint.name}_oauth_open_id"
