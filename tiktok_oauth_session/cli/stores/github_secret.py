"""``github-secret://OWNER/REPOSITORY/NAME``: one account's token, in a secret of GitHub Actions."""

from __future__ import annotations

import json
import math
import os
import re
import sys
from collections.abc import Hashable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from tiktok_oauth_session._connection.marks import Marks
from tiktok_oauth_session._connection.process_memory import memory
from tiktok_oauth_session._plain_errors import StoreError
from tiktok_oauth_session.cli.exits import EXIT_USAGE, Stop
from tiktok_oauth_session.cli.settings import credentials
from tiktok_oauth_session.cli.stores.documents import tokens_in
from tiktok_oauth_session.cli.stores.gh import GH_TIMEOUT_S, Secret, is_job
from tiktok_oauth_session.stores import MemoryStore, TokenStore, check_replacing, due
from tiktok_oauth_session.stores.envelope import written
from tiktok_oauth_session.stores.file import FileStore
from tiktok_oauth_session.tokens import AccountKey, TikTokToken

#: Seconds by which the clock of the machine that wrote a secret may be behind GitHub's.
SKEW_S = 5.0
#: Seconds by which GitHub may call a secret younger than it says itself, and it is the same one.
TOLERANCE_S = GH_TIMEOUT_S + SKEW_S

#: Held while the secret is written.
_SAVING = AccountKey("saving", "saving")
_OWNER = re.compile(r"[A-Za-z0-9][\w-]*", re.ASCII)
_PATH = re.compile(r"/([A-Za-z0-9][\w.-]*)/([A-Za-z_]\w*)", re.ASCII)
_ENVIRONMENT = re.compile(r"[A-Za-z0-9][\w .-]*", re.ASCII)

_Held = tuple[AccountKey, TikTokToken]


def github_secret_store(url: str) -> GitHubSecretStore:
    """Return the store that a URL names.

    Raises:
        Stop: It names none.
    """
    parts = urlsplit(url)
    options = parse_qs(parts.query, keep_blank_values=True)
    environment = options.pop("environment", [None])[-1]
    path, owner = _PATH.fullmatch(parts.path), _OWNER.fullmatch(parts.netloc)
    known = environment is None or _ENVIRONMENT.fullmatch(environment)
    if not path or not owner or not known or options or parts.fragment:
        raise Stop("This is no github-secret://OWNER/REPOSITORY/NAME?environment=ENVIRONMENT.", EXIT_USAGE)
    return GitHubSecretStore(Secret(f"{owner[0]}/{path[1]}", path[2], environment))


class GitHubSecretStore(TokenStore):
    """Keeps one account's token in a secret of GitHub Actions, through the program ``gh``.

    Nobody can read a secret back. A job is given it once, in the environment variable of its name; what the
    job itself has saved since is in a file below ``RUNNER_TEMP``, which the runner empties. A save writes the
    secret first, so where that cannot be done, a refresh ends at its mark, and nothing is spent.

    The lock excludes the steps of one job. Other jobs are excluded by the workflow's ``concurrency:``. A job
    whose secret has been written since it was given it is refused, and so is one that cannot know.

    Source: https://docs.github.com/en/actions/reference/security/secrets (when secrets are read),
    https://docs.github.com/en/actions/reference/workflows-and-actions/variables (``RUNNER_TEMP``).
    """

    def __init__(self, secret: Secret) -> None:
        self._secret, self._masked = secret, set[str]()
        temporary = os.environ.get("RUNNER_TEMP")
        own = ".".join((secret.repository.replace("/", "_"), secret.environment or "", secret.name))
        self._own: TokenStore = (
            FileStore(Path(temporary, "tiktok-oauth", own)) if temporary else MemoryStore()
        )

    # --- the contract ------------------------------------------------------------------------------

    @property
    def identity(self) -> Hashable:
        """The secret, as this job has it."""
        return self._secret, self._own.identity

    def load(self, key: AccountKey) -> TikTokToken | None:
        """Return the account's token.

        Raises:
            StoreError: The job was given none; or this is no job, and there is a secret that cannot be read.
        """
        held = self._held()
        if held is None and self._saved() is None and self._secret.written_at() is not None:
            raise StoreError(
                f"The secret {self._secret.name} is there already, and nobody can read what is in it. import "
                "--replace and login overwrite it."
            )
        return held[1] if held is not None and held[0] == key else None

    def save(self, key: AccountKey, token: TikTokToken, *, replacing: str | None = None) -> None:
        """Write the secret, and then what this job knows of it.

        Raises:
            StoreConflict: Another token is there.
            StoreError: The secret holds another account, may hold a newer token, or cannot be written.
        """
        key = AccountKey(*key)
        with self._own.lock(_SAVING):
            held = self._held()
            if held is not None and held[0] != key:
                raise StoreError(
                    f"The secret {self._secret.name} holds the account {held[0].open_id} and has room for "
                    f"one: nothing was written. Log it out first, or name another secret."
                )
            check_replacing(key, held and held[1], replacing)
            if replacing is not None:
                self._require_newest()
            self._mask(token)
            self._secret.write(written(key, token), secrets=_texts(token))
            self._own.save(key, token)

    def delete(self, key: AccountKey) -> None:
        """Delete the secret."""
        with self.lock(key):
            held = self._held()
            if held is not None and held[0] == key:
                self._secret.delete()
                # In the place of what the job was given.
                self._own.save(key, TikTokToken())

    def lock(self, key: AccountKey) -> AbstractContextManager[None]:
        """Exclude the job's other steps."""
        return self._own.lock(key)

    def try_lock(self, key: AccountKey, *, timeout: float = 0.0) -> AbstractContextManager[bool]:
        """Exclude the job's other steps, unless one of them is in already."""
        return self._own.try_lock(key, timeout=timeout)

    def keys(self, client_key: str | None = None) -> Iterator[AccountKey]:
        """Yield the account."""
        held = self._held()
        return iter([held[0]] if held is not None and client_key in (None, held[0].client_key) else [])

    def expiring(self, before: float) -> Iterator[AccountKey]:
        """Yield the account, if it expires."""
        held = self._held()
        return iter(due(iter([] if held is None else [held]), before))

    def require_writable(self, client_key: str) -> None:
        """Find out whether gh is there and may see the secrets. That it may write them only a write proves.

        Raises:
            StoreError: It may not.
        """
        self._secret.written_at()

    # --- what is there -----------------------------------------------------------------------------

    def _held(self) -> _Held | None:
        """Return the account and its token: as this job has saved it, or else as it was given it."""
        saved = self._saved()
        held = self._given() if saved is None else saved
        if held is None or not held[1]:
            return None
        self._mask(held[1])
        return held

    def _saved(self) -> _Held | None:
        """Return what this job has saved; an empty token if it has deleted the account."""
        for key in list(self._own.keys()):
            token = self._own.load(key)
            if token is not None:
                return key, token
        return None

    def _given(self) -> _Held | None:
        name = self._secret.name
        text = os.environ.get(name, "")
        if not text.strip() and not is_job():
            return None
        try:
            found = tokens_in(text)
        except Stop as error:
            raise StoreError(f"The variable {name}: {error}") from None
        if len(found) != 1:
            raise StoreError(
                f"The variable {name} holds {'several tokens' if found else 'no token'}. Give it to the "
                f"step: below env, {name}: ${{{{ secrets.{name} }}}}."
            )
        token, open_id, client_key = found[0]
        client_key = client_key or credentials.setting(credentials.CLIENT_KEY)
        # Whom nobody has named goes by the secret's name.
        return AccountKey(client_key, open_id or name), token

    def _require_newest(self) -> None:
        """Refuse to go by what this job has if the secret may hold a newer token.

        GitHub reads a repository's secrets when a run is queued, which may be long before it begins.
        """
        name, saved = self._secret.name, self._saved()
        if saved is not None:
            _require_ended(name, saved[1])
            return
        own = _saved_at(os.environ.get(name, ""))
        if own is None:
            # Somebody has put it there by hand.
            if self._secret.environment is not None:
                return
            raise StoreError(
                f"The secret {name} does not say when it was written. As a repository's it may have been "
                "read long ago, and be spent by now: nothing was sent. On a machine of your own, run "
                "tiktok-oauth import FILE --replace --store with the same URL, or make it the secret of an "
                "environment (?environment=NAME)."
            )
        at = self._secret.written_at()
        if at is None or at > own + TOLERANCE_S:
            raise StoreError(
                f"The secret {name} was {'deleted' if at is None else 'written'} after this job was given "
                "it: nothing was sent. Run the workflow again. The secret of an environment is read when its "
                "job begins, and so with concurrency: it is never too old. If it is refused again, the clock "
                "of the machine that wrote it is behind."
            )

    def _mask(self, token: TikTokToken) -> None:
        """Have the runner blot the tokens out of the job's log.

        On stderr, where it looks for commands as well: stdout is what a script captures.
        Source: https://github.com/actions/runner/blob/main/src/Runner.Worker/Handlers/ScriptHandler.cs
        """
        for text in _texts(token) if is_job() else ():
            if text not in self._masked:
                self._masked.add(text)
                escaped = text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")
                print(f"::add-mask::{escaped}", file=sys.stderr, flush=True)


def _saved_at(document: str) -> float | None:
    """Return when a document of ours was written (Unix time, seconds); None if it does not say."""
    try:
        moment = float(json.loads(document)["saved_at"])
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError):
        return None
    return moment if math.isfinite(moment) else None


def _require_ended(name: str, token: TikTokToken) -> None:
    """Refuse a token that another process of this job has begun to spend, and has not said what became of it.

    It may have been killed once the secret was written, and before it told the job.
    """
    marks = Marks.of(token)
    if marks.may_last_s is not None and marks.started_by != memory().holder:
        raise StoreError(
            f"A step of this job ended in the middle of a refresh, so the secret {name} may hold a newer "
            "token than this job has: nothing was sent. Run the workflow again."
        )


def _texts(token: TikTokToken) -> list[str]:
    return [text for text in (token.access_token, token.refresh_token) if text]
