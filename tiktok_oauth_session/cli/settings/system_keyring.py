"""The operating system's keyring, which keeps the client secret where the extra ``keyring`` is installed.

A locked keyring asks a person for a password, and there may be none: nobody waits for it for long.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from importlib.util import find_spec
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from keyring.backend import KeyringBackend

_Answer = TypeVar("_Answer")

#: What the secret goes by in the keyring, together with the client key.
SERVICE = "tiktok-oauth"
#: Seconds that the keyring may take.
TIMEOUT_S = 3.0
#: What keyring itself asks of a backend that it recommends. Others keep nothing, keep it in a file, or ask at
#: the terminal.
LOWEST_PRIORITY = 1


class KeyringFailed(Exception):
    """Says in a sentence, and without a secret, why the keyring does not help."""


def is_installed() -> bool:
    """Tell whether the extra is there, which says nothing of a keyring yet."""
    return find_spec("keyring") is not None


def secret_of(client_key: str) -> str:
    """Return the secret that the keyring holds for an app; empty if it holds none.

    Raises:
        KeyringFailed: It cannot be asked.
    """
    return _ask(lambda backend: backend.get_password(SERVICE, client_key)) or ""


def keep_secret(client_key: str, client_secret: str) -> None:
    """Keep the secret of an app in the keyring.

    Raises:
        KeyringFailed: It cannot be asked, or does not hold the secret afterwards.
    """

    def put(backend: KeyringBackend) -> bool:
        backend.set_password(SERVICE, client_key, client_secret)
        # Several backends in a chain raise nothing if none of them has taken it.
        return backend.get_password(SERVICE, client_key) == client_secret

    if not _ask(put):
        raise KeyringFailed("The keyring does not keep the secret.")


def _ask(question: Callable[[KeyringBackend], _Answer]) -> _Answer:
    """Return the keyring's answer.

    Raises:
        KeyringFailed: There is no keyring, it fails, or it takes longer than `TIMEOUT_S`.
    """
    answers: queue.SimpleQueue[_Answer | KeyringFailed] = queue.SimpleQueue()
    # A daemon: the process ends though the keyring still waits for a person.
    threading.Thread(target=lambda: answers.put(_answer(question)), name="keyring", daemon=True).start()
    try:
        answer = answers.get(timeout=TIMEOUT_S)
    except queue.Empty:
        raise KeyringFailed(f"The keyring has not answered within {TIMEOUT_S:g} s: is it locked?") from None
    if isinstance(answer, KeyringFailed):
        raise answer
    return answer


def _answer(question: Callable[[KeyringBackend], _Answer]) -> _Answer | KeyringFailed:
    try:
        # Here: to look for a keyring may take as long as to use it.
        import keyring

        backend = keyring.get_keyring()
        if backend.priority < LOWEST_PRIORITY:
            return KeyringFailed("No keyring can be used here.")
        return question(backend)
    except Exception as error:  # noqa: BLE001 - each system's keyring has errors of its own
        # Their words may quote what was asked.
        return KeyringFailed(f"The keyring cannot be used ({type(error).__name__}).")
