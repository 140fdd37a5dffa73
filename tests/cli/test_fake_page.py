"""The page about the served fake: its lines are run by a shell, with a real curl, as they are printed."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from servers import lack

from tiktok_oauth_session.testing.control import _ANSWERS

PAGE = Path(__file__).parents[2] / "docs/fake.md"
#: What curl is told beside what the page says: nothing but the reply, and an error for an error.
CURLRC = 'silent\nshow-error\nfail-with-body\nnoproxy = "*"\nwrite-out = "\\n"\n'


def blocks(language):
    """Return the blocks of a language, in their order."""
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE.read_text("utf-8"), re.DOTALL | re.MULTILINE)


def shortened(text):
    """Return replies without what differs each time."""
    text = re.sub(r'"(act\.|rft\.|ROW_)[^"]*"', r'"\1…"', text)
    text = re.sub(r'"request_id": "[^"]*"', '"request_id": "…"', text)
    text = re.sub(r'_expire_in": [0-9]+', '_expire_in": 0', text)
    text = re.sub(r'"now": [0-9.]+', '"now": 0', text)
    return re.sub(r'"requests": \[.+?\]\}$', '"requests": […]}', text, flags=re.MULTILINE)


@pytest.fixture
def fake_command(start):
    """The command of the page, on a free port; what it printed, which a shell takes over."""
    return start(*blocks("sh")[0].split()[1:], "--port", "0").settings()


def test_page__what_is_printed(fake_command):
    """The command prints what the page says it does, but for the port."""
    assert blocks("sh")[1] == re.sub(r"(127\.0\.0\.1):\d+", r"\1:9400", fake_command)


def test_page__curl(fake_command, tmp_path):
    """Every line works, and those whose replies are printed are answered so."""
    if not shutil.which("curl"):
        lack("there is no curl here: apt-get install curl")
    (tmp_path / ".curlrc").write_text(CURLRC)
    script = "".join([fake_command, *blocks("sh")[2:]])
    done = subprocess.run(
        ["/bin/sh", "-euc", script],
        cwd=tmp_path,
        env={**os.environ, "CURL_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )

    assert ("", 0) == (done.stderr, done.returncode)
    said = "".join(blocks("text")) + "{}\n" * 4
    assert shortened(said).splitlines() == shortened(done.stdout).splitlines()


def test_page__everything():
    """Every request that there is to control the fake is made on the page."""
    made = re.findall(r'^curl -H "\$control" (.*) ?"\$fake/_control/(\w+)"$', PAGE.read_text(), re.MULTILINE)

    assert set(_ANSWERS) == {("POST" if options else "GET", name) for options, name in made}
