"""The app's credentials: from the environment, a file of the user's own, the keyring, or a prompt.

Never from the command line, which `ps` shows to everybody and a shell keeps in its history.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from tiktok_oauth_session.cli.exits import EXIT_USAGE, Stop
from tiktok_oauth_session.cli.settings import system_keyring
from tiktok_oauth_session.cli.settings.folders import config_folder
from tiktok_oauth_session.cli.terminal import prompts
from tiktok_oauth_session.cli.terminal.output import tell
from tiktok_oauth_session.stores.private_directories import make_missing

CLIENT_KEY = "TIKTOK_CLIENT_KEY"
CLIENT_SECRET = "TIKTOK_CLIENT_SECRET"
REDIRECT_URI = "TIKTOK_REDIRECT_URI"
NAMES = (CLIENT_KEY, CLIENT_SECRET, REDIRECT_URI)

FILE_MODE = 0o600


class Credentials(NamedTuple):
    """What the app is known by at TikTok."""

    client_key: str
    client_secret: str
    #: Whether the user was asked for any of it.
    asked_for: bool = False

    def __repr__(self) -> str:
        """Show no secret."""
        return f"<{type(self).__name__} of {self.client_key}>"


class FoundSecret(NamedTuple):
    """A client secret that was looked for."""

    #: Empty if it was not found.
    secret: str = ""
    #: Where it was found.
    place: str = ""
    #: What there is to be said of the keyring, if it was not found.
    complaint: str = ""

    def __repr__(self) -> str:
        """Show no secret."""
        return f"<{type(self).__name__} in {self.place or 'no place'}>"


def path() -> Path:
    """Return where the credentials file is, or would be."""
    return config_folder() / "credentials"


def setting(name: str) -> str:
    """Return one of `NAMES` from the environment or else the file; empty if it is in neither.

    Raises:
        Stop: The file can be read by others, or cannot be read.
    """
    return os.environ.get(name, "").strip() or _from_file().get(name, "")


def find_secret(client_key: str) -> FoundSecret:
    """Look for an app's client secret in the environment, in the file, and in the keyring.

    Raises:
        Stop: The file can be read by others, or cannot be read.
    """
    if secret := os.environ.get(CLIENT_SECRET, "").strip():
        return FoundSecret(secret, "the environment")
    if secret := _from_file().get(CLIENT_SECRET, ""):
        return FoundSecret(secret, str(path()))
    if not client_key or not system_keyring.is_installed():
        return FoundSecret()
    try:
        secret = system_keyring.secret_of(client_key)
    except system_keyring.KeyringFailed as failure:
        return FoundSecret(complaint=str(failure))
    if not secret:
        return FoundSecret(complaint=f"The keyring holds no secret of {client_key}.")
    return FoundSecret(secret, "the keyring")


def require(client_key: str | None = None) -> Credentials:
    """Return the credentials, asking the user for what is nowhere to be found.

    Args:
        client_key: The app that they have to belong to; None takes any.

    Raises:
        Stop: There are none and there is nobody to ask, or they belong to another app.
    """
    key = setting(CLIENT_KEY)
    if client_key and key and key != client_key:
        raise Stop(
            f"This account belongs to the app {client_key}, and {CLIENT_KEY} is another one's ({key}).",
            EXIT_USAGE,
        )
    key = key or client_key or ""
    secret, _, complaint = find_secret(key)
    if key and secret:
        return Credentials(key, secret)
    if not prompts.somebody_is_there():
        values = {CLIENT_KEY: key, CLIENT_SECRET: secret}
        missing = " and ".join(name for name, value in values.items() if not value)
        raise Stop(
            f"No {missing}: set it in the environment, or write {CLIENT_KEY}=… and {CLIENT_SECRET}=… into "
            f"{path()} (mode 600). {complaint}",
            EXIT_USAGE,
        )
    if complaint:
        tell(complaint)
    key = key or prompts.ask("Client key: ")
    secret = secret or prompts.ask_for_secret("Client secret (not shown): ")
    if not key or not secret:
        raise Stop("No client key or no client secret was given.", EXIT_USAGE)
    return Credentials(key, secret, asked_for=True)


def keep(credentials: Credentials) -> str:
    """Keep the credentials for the next time: the secret in the keyring if that works, the rest in the file.

    Returns:
        Where they are, in a sentence.

    Raises:
        OSError: The file cannot be written.
    """
    known = {**_from_file(), CLIENT_KEY: credentials.client_key, CLIENT_SECRET: credentials.client_secret}
    complaint = ""
    if system_keyring.is_installed():
        try:
            system_keyring.keep_secret(credentials.client_key, credentials.client_secret)
        except system_keyring.KeyringFailed as failure:
            complaint = f"{failure} "
        else:
            del known[CLIENT_SECRET]
    _write(known)
    if CLIENT_SECRET in known:
        return f"{complaint}The client secret is kept in {path()}, which only you can read."
    return f"The client secret is kept in the keyring, and the client key in {path()}."


def _write(known: Mapping[str, str]) -> None:
    """Write the user's file, in one step, readable by the user alone."""
    target = path()
    make_missing(target.parent)
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, FILE_MODE)
    try:
        with open(descriptor, "w", encoding="utf-8") as file:  # noqa: PTH123 - a descriptor, not a path
            file.write("# The app's credentials at TikTok, for tiktok-oauth. Keep this file to yourself.\n")
            if CLIENT_SECRET not in known:
                file.write("# The client secret is in the keyring of this system.\n")
            file.writelines(f"{name}={value}\n" for name, value in known.items())
            file.flush()
            os.fsync(descriptor)
        temporary.replace(target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _from_file() -> dict[str, str]:
    try:
        with path().open(encoding="utf-8") as file:
            _require_private(os.fstat(file.fileno()))
            lines = file.read().splitlines()
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except (OSError, UnicodeError) as error:
        why = getattr(error, "strerror", None) or error
        raise Stop(f"Cannot read {path()}: {why}.", EXIT_USAGE) from error
    found = assignments(lines)
    return {name: found[name] for name in NAMES if found.get(name)}


def assignments(lines: Iterable[str]) -> dict[str, str]:
    """Return what lines such as ``NAME=value`` say, as a shell or a ``.env`` file has them."""
    said = (line for line in lines if not line.lstrip().startswith("#"))
    pairs = (line.strip().removeprefix("export ").partition("=") for line in said)
    return {name.strip(): value.strip().strip("\"'") for name, _, value in pairs}


def _require_private(status: os.stat_result) -> None:
    if not hasattr(os, "geteuid"):
        return
    if status.st_uid != os.geteuid():
        raise Stop(f"{path()} belongs to another user, so it is not read.", EXIT_USAGE)
    if status.st_mode & 0o077:
        raise Stop(f"{path()} can be read by others, so it is not used. Run: chmod 600 {path()}", EXIT_USAGE)
