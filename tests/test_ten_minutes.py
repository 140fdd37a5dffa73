"""The page "Ten minutes", done to the letter by a shell, in an empty folder, with an empty home."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from servers import lack

PAGE = (Path(__file__).parents[1] / "docs/ten-minutes.md").read_text("utf-8")
#: A browser whose user unticks the videos and presses Allow, and which goes where it is sent then.
BROWSER = f"""#!{sys.executable}
import sys, urllib.request
urllib.request.urlopen(sys.argv[1], b"decision=allow&open_id=user-1&user.info.stats=on").read()
"""


def blocks(language):
    """Return the blocks of a language, in their order; not that of the real TikTok, which is in a list."""
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)


def files():
    """Return what the page has put into files, by their names."""
    return dict(
        re.findall(r"^Put this into `([\w.]+)`:\n\n```python\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
    )


@pytest.fixture
def newcomer(tmp_path):
    """What subprocesses of somebody get who has just installed the package."""
    if not shutil.which("curl"):
        lack("there is no curl here: apt-get install curl")
    for name in ("home", "empty"):
        (tmp_path / name).mkdir()
    browser = tmp_path / "browser"
    browser.write_text(BROWSER)
    browser.chmod(0o700)
    environment = {
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.defpath]),
        "HOME": str(tmp_path / "home"),
        "BROWSER": str(browser),
    }
    return {"cwd": tmp_path / "empty", "env": environment, "text": True}


@pytest.fixture
def settings(newcomer):
    """The first terminal: what it prints, with the fake on a free port, which serves until Ctrl-C."""
    command = [*blocks("sh")[1].split(), "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **newcomer) as fake:
        try:
            yield "".join(fake.stdout.readline() for _ in blocks("sh")[2].splitlines())
        finally:
            fake.send_signal(signal.SIGINT)


@pytest.mark.slow
def test_page__to_the_letter(newcomer, settings):
    """Both terminals print what the page says, but for the port and a log id."""
    assert blocks("sh")[2] == re.sub(r"(127\.0\.0\.1):\d+", r"\1:9400", settings)
    for name, code in files().items():
        (newcomer["cwd"] / name).write_text(code)

    script = "\n".join([settings, *blocks("sh")[3:]])
    done = subprocess.run(["/bin/sh", "-euc", script], capture_output=True, check=False, **newcomer)

    assert 0 == done.returncode, done.stderr
    assert "Traceback" not in done.stderr
    assert "".join(blocks("text")) == re.sub(r'("log_id": ")\w+', r"\1…", done.stdout)
    assert {"hello.py", "tokens"} == {path.name for path in newcomer["cwd"].iterdir()}


def test_page__no_block_is_forgotten():
    """Each block is run, or is one of the two of which the page says that they are not."""
    assert len(re.findall(r"^ *```\w", PAGE, re.MULTILINE)) == sum(
        len(blocks(language)) for language in ("sh", "text", "python", "diff")
    ) + len(re.findall(r"^ +```sh", PAGE, re.MULTILINE))
    assert blocks("python") == list(files().values())
    assert 2 == len(re.findall(r"[Nn]ot run by the\s+tests", PAGE))


def test_page__the_one_line():
    """What has to be left out for TikTok itself is in the program."""
    (change,) = blocks("diff")

    assert change.startswith("-")
    assert change[1:] in files()["hello.py"]
