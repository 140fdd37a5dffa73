"""Where this user's configuration and state live, by each system's own custom.

Source: https://specifications.freedesktop.org/basedir-spec/latest/
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

NAME = "tiktok-oauth"


def config_folder() -> Path:
    """Return the folder of the credentials file."""
    return _folder("XDG_CONFIG_HOME", ".config", "APPDATA")


def state_folder() -> Path:
    """Return the folder of the tokens' folder, and of what the command notes for itself."""
    return _folder("XDG_STATE_HOME", ".local/state", "LOCALAPPDATA")


def tokens_folder() -> Path:
    """Return the folder of the tokens."""
    return state_folder() / "tokens"


def _folder(xdg: str, otherwise: str, windows: str) -> Path:
    # A relative path is to be ignored, says the specification.
    if (chosen := os.environ.get(xdg, "")) and Path(chosen).is_absolute():
        return Path(chosen) / NAME
    if sys.platform == "win32":
        return Path(os.environ.get(windows) or Path.home() / "AppData") / NAME
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Application Support" / NAME
    return Path.home() / otherwise / NAME
