"""A stand-in for ``gh`` with the secrets that it keeps, as a program on the PATH."""

from __future__ import annotations

import datetime as dt
import json
import os
import re
import sys
import time
from pathlib import Path

#: What `gh` is run as: where it keeps what it does stands in the environment.
SCRIPT = f"#!{sys.executable} -I\nimport runpy\nrunpy.run_path({__file__!r}, run_name='__main__')\n"


class GitHub:
    """What a repository's secrets are, and what was asked of ``gh``."""

    def __init__(self, directory):
        self.directory = directory
        self.bin = directory / "bin"
        self.bin.mkdir(parents=True)
        program = self.bin / "gh"
        program.write_text(SCRIPT)
        program.chmod(0o700)
        self.secrets = directory / "secrets"
        self.secrets.mkdir()
        self.events = directory / "events"
        self.events.touch()
        (directory / "faults").write_text("{}")

    def note(self, event):
        """Write down what somebody else does meanwhile."""
        with self.events.open("a") as events:
            events.write(json.dumps({"event": event}) + "\n")

    @property
    def calls(self):
        """What was asked of gh: arguments and stdin, with whatever was noted in between."""
        return [json.loads(line) for line in self.events.read_text().splitlines()]

    @property
    def order(self):
        """The verbs of these calls, and what was noted."""
        return [call.get("event") or call["arguments"][1] for call in self.calls]

    def fail(self, **faults):
        """Let calls fail: verb -> how often, how many go well before, and what is said."""
        (self.directory / "faults").write_text(json.dumps(faults))

    def put(self, name, value, *, age_s=0):
        """Have a secret, written so many seconds ago."""
        path = self.secrets / name
        path.write_text(value)
        os.utime(path, (time.time() - age_s,) * 2)

    def value(self, name):
        """Return a secret's value, which only a job is given; empty if there is none."""
        path = self.secrets / name
        return path.read_text() if path.exists() else ""


def main():
    """Be gh."""
    directory = Path(os.environ["TEST_GITHUB"])
    arguments, stdin = sys.argv[1:], sys.stdin.read()
    faults = json.loads((directory / "faults").read_text())
    fault = faults.get(arguments[1], {})
    failing = fault.get("times", 0) and not fault.get("after", 0)
    if fault.get("after", 0):
        fault["after"] -= 1
    elif failing:
        fault["times"] -= 1
    (directory / "faults").write_text(json.dumps(faults))
    call = {
        "arguments": arguments,
        "stdin": stdin,
        "failed": bool(failing),
        "token": os.environ.get("GH_TOKEN"),
    }
    with (directory / "events").open("a") as events:
        events.write(json.dumps(call) + "\n")
    if failing:
        sys.stderr.write(
            fault.get("says", "failed to set secret: HTTP 403: Resource not accessible by integration\n")
        )
        # As a program that is careless with what it was given.
        sys.stderr.write(" ".join(re.findall(r'"(?:access|refresh)_token": "([^"]+)"', stdin)))
        sys.exit(1)
    answer(arguments, stdin, directory / "secrets")


def answer(arguments, stdin, secrets):
    """Do what was asked, as gh does: https://cli.github.com/manual/gh_secret."""
    assert "secret" == arguments[0]
    verb, name = arguments[1], arguments[2]
    if verb == "set":
        (secrets / name).write_text(stdin.rstrip("\r\n"))
    elif verb == "delete":
        (secrets / name).unlink()
    else:
        assert ["list", "--json", "name,updatedAt"] == arguments[1:4]
        times = {
            path.name: dt.datetime.fromtimestamp(path.stat().st_mtime, dt.timezone.utc)
            for path in secrets.iterdir()
        }
        rows = [{"name": name.upper(), "updatedAt": f"{at:%Y-%m-%dT%H:%M:%SZ}"} for name, at in times.items()]
        sys.stdout.write(json.dumps(rows))


if __name__ == "__main__":
    main()
