"""What it costs to begin: imports, and commands that have nothing to do."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks.contestants import CLIENT_KEY, token
from benchmarks.results import OURS, Row, compared
from benchmarks.rounds import Run
from tiktok_oauth_session import AccountKey, FileStore, TikTokToken

TITLE = "Cold start"
#: The most that it may cost beside `import requests_oauthlib`, and beside `python -c "import json"`.
IMPORT_GOAL, COMMAND_GOAL = 1.1, 2.0

_IMPORTS = {
    "requests": "import requests",
    "requests-oauthlib": "import requests_oauthlib",
    "Authlib": "import authlib.integrations.requests_client",
    "python-tiktok": "import pytiktok",
    OURS: "from tiktok_oauth_session import TikTokOAuth2Session",
    f"{OURS}, FileStore alone": "from tiktok_oauth_session import FileStore",
}
_JSON = "import json"
#: What every command begins with.
_LIBRARY = "import argparse, dataclasses, json, logging, pathlib"


def measure(run: Run) -> list[Row]:
    """Measure the processor's time of whole processes, the interpreter's own included."""
    folder = run.folder / "start"
    key = AccountKey(CLIENT_KEY, "user")
    FileStore(folder).save(key, TikTokToken(token()))
    environment = {**os.environ, "TIKTOK_OAUTH_STORE": str(folder)}
    # What is imported is compiled, as it is wherever it was installed.
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    rounds = run.of(41, 2)

    # Not in the checkout: what is installed is measured.
    def python(*arguments: str) -> Callable[[], float]:
        return lambda: process_ms([sys.executable, *arguments], environment, run.folder)

    figures = run.in_turns({name: python("-c", line) for name, line in _IMPORTS.items()}, rounds)
    case, theirs = "import", "requests-oauthlib"
    rows = [
        compared(case, "ms", figures, name, theirs, IMPORT_GOAL if name == OURS else None)
        for name in _IMPORTS
    ]
    script = shutil.which("tiktok-oauth", path=str(Path(sys.executable).parent))
    command = [script] if script else [sys.executable, "-m", "tiktok_oauth_session"]
    contestants = {
        _JSON: python("-c", _JSON),
        "Python's own modules": python("-c", _LIBRARY),
        **{
            f"tiktok-oauth {name}": (lambda name=name: process_ms([*command, name], environment, run.folder))
            for name in ("token", "status")
        },
    }
    figures = run.in_turns(contestants, rounds)
    return rows + [
        compared(
            "nothing is due",
            "ms",
            figures,
            name,
            _JSON,
            COMMAND_GOAL if name.startswith("tiktok") else None,
        )
        for name in contestants
    ]


def process_ms(command: Sequence[str], environment: dict[str, str], folder: Path) -> float:
    """Run a process in a folder; return the milliseconds of processor time that it took."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, env=environment, cwd=folder, check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return (after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime) * 1000
