"""A script that Redis runs as one command."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

from redis.exceptions import NoScriptError


class Script:
    """What several commands do at one moment; it belongs to no client, and to no process.

    Args:
        text: In Lua.
    """

    def __init__(self, text: str) -> None:
        self._text = text
        self._name = hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()

    def __call__(self, client: Any, keys: Sequence[str], arguments: Sequence[str | int]) -> Any:
        """Run it.

        Args:
            client: Any client of redis-py.
            keys: What it may touch.
            arguments: Secrets last, for Redis quotes the first words of a command that it does not know.
        """
        try:
            return client.evalsha(self._name, len(keys), *keys, *arguments)
        except NoScriptError:
            # It has not been run since the server started.
            return client.eval(self._text, len(keys), *keys, *arguments)
