"""Where and with what a run was made."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
from pathlib import Path

PACKAGES = (
    "tiktok-oauth-session",
    "requests",
    "urllib3",
    "requests-oauthlib",
    "oauthlib",
    "Authlib",
    "python-tiktok",
    "SQLAlchemy",
    "redis",
)


def machine() -> str:
    """Return a sentence on the machine."""
    info = Path("/proc/cpuinfo").read_text("utf-8") if Path("/proc/cpuinfo").exists() else ""
    found = re.search(r"^model name\s*: (.*)$", info, re.MULTILINE)
    processor = found[1].strip() if found else platform.machine()
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    system = f"{platform.system()} {platform.release().partition('-')[0]}"
    return f"{os.cpu_count()} cores of {processor}, {memory:.0f} GiB, {system}"


def versions() -> dict[str, str]:
    """Return the version of all that matters."""
    packages = {name: importlib.metadata.version(name) for name in PACKAGES}
    return {platform.python_implementation(): platform.python_version(), **packages}
