"""Secrets of GitHub Actions, through ``gh``, GitHub's own command line."""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import os
import shutil
import subprocess
from collections.abc import Iterable
from typing import NamedTuple

from tiktok_oauth_session._http.redaction import redact
from tiktok_oauth_session._plain_errors import StoreError
from tiktok_oauth_session._plain_text import plain

#: Seconds that one call of gh may take.
GH_TIMEOUT_S = 30.0


def is_job() -> bool:
    """Tell whether this is a job of GitHub Actions."""
    return os.environ.get("GITHUB_ACTIONS") == "true"


class Secret(NamedTuple):
    """A secret of a repository, or of one of its environments. It can be written, and not read."""

    repository: str
    name: str
    environment: str | None

    def write(self, value: str, *, secrets: Iterable[str]) -> None:
        """Give it another value.

        Args:
            value: The value, which gh reads from its stdin.
            secrets: What of it may be in no message.

        Raises:
            StoreError: gh is not there, or failed.
        """
        self._run("set", self.name, stdin=value, secrets=secrets)

    def delete(self) -> None:
        """Delete it.

        Raises:
            StoreError: As for `write`.
        """
        self._run("delete", self.name)

    def written_at(self) -> float | None:
        """Return when it was written last (Unix time, seconds); None if it is not there.

        Raises:
            StoreError: As for `write`.
        """
        listed = self._run("list", "--json", "name,updatedAt")
        with contextlib.suppress(ValueError, TypeError, KeyError, AttributeError):
            times = {each["name"].upper(): each["updatedAt"] for each in json.loads(listed or "[]")}
            # GitHub writes names in capitals, and Python 3.10 does not know the letter.
            at = times.get(self.name.upper())
            return at and dt.datetime.fromisoformat(at.replace("Z", "+00:00")).timestamp()
        raise StoreError("gh secret list answered something else than a list: update gh.")

    def _run(self, verb: str, *arguments: str, stdin: str = "", secrets: Iterable[str] = ()) -> str:
        program = shutil.which("gh")
        if program is None:
            raise StoreError("There is no gh here, GitHub's command line, through which secrets are written.")
        where = ["--repo", self.repository, *(["--env", self.environment] if self.environment else [])]
        try:
            # In a session of its own: a Ctrl-C must not reach it in the middle of a write.
            done = subprocess.run(  # noqa: S603 - no shell, and no secret among the arguments
                [program, "secret", verb, *arguments, *where],
                input=stdin,
                capture_output=True,
                text=True,
                timeout=GH_TIMEOUT_S,
                check=False,
                start_new_session=True,
            )
        except subprocess.TimeoutExpired:
            raise StoreError(f"gh secret {verb} has not ended within {GH_TIMEOUT_S:g} s.") from None
        except OSError as error:
            raise StoreError(f"gh could not be run: {error.strerror}.") from None
        if done.returncode:
            said = " ".join(redact(done.stderr, secrets).split())
            raise StoreError(f"gh secret {verb} failed ({done.returncode}): {plain(said)}")
        return done.stdout
