"""The workflow of docs/github-actions.md, run as a runner would."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from servers import require_module

from tiktok_oauth_session import TikTokToken
from tiktok_oauth_session.cli import parser
from tiktok_oauth_session.cli.stores.github_secret import github_secret_store

PAGE = Path(__file__).parents[2] / "docs/github-actions.md"
SECRETS = {
    "TIKTOK_CLIENT_KEY": "sbaw-test-key",
    "TIKTOK_CLIENT_SECRET": "sbaw-test-secret",
    "SECRETS_WRITER": "github_pat_fake",
}
#: What the workflow's own script stands for: a call of the API with the token that it is given.
SCRIPT = """
import os, requests
with requests.Session() as http:
    http.trust_env = False
    http.headers["Authorization"] = "Bearer " + os.environ["TIKTOK_ACCESS_TOKEN"]
    reply = http.get(os.environ["TIKTOK_OAUTH_BASE_URL"] + "/v2/user/info/?fields=open_id", timeout=20)
print("posted", reply.status_code, os.environ["TIKTOK_ACCESS_TOKEN"])
"""


@pytest.fixture
def workflow():
    """The workflow, as YAML is read."""
    require_module("yaml")
    import yaml

    (text,) = re.findall(r"<!-- workflow -->\n```yaml\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    return yaml.safe_load(text)


@pytest.fixture
def programs(home, github):
    """What a runner has on its PATH: gh, this command, Python, and a pip that installs nothing."""
    for name, line in {
        "tiktok-oauth": f'exec {shlex.quote(sys.executable)} -m tiktok_oauth_session "$@"',
        "python": f'exec {shlex.quote(sys.executable)} "$@"',
        "pip": f'echo "$@" >>{shlex.quote(str(home))}/installed',
    }.items():
        program = github.bin / name
        program.write_text(f"#!/bin/sh\n{line}\n")
        program.chmod(0o700)
    (home / "post_video.py").write_text(SCRIPT)


class Run:
    """A run of the workflow: each step in a shell, as a runner begins it."""

    def __init__(self, workflow, home, github, number):
        (self._job,) = workflow["jobs"].values()
        self._home, self._github = home, github
        self._temporary = home / f"runner-{number}"
        self._temporary.mkdir()
        #: Environment secrets, as they are when the job begins.
        self._secrets = {**SECRETS, "TIKTOK_TOKEN": github.value("TIKTOK_TOKEN")}
        self.log = ""
        self.code = 0
        for step in self._job["steps"]:
            if "run" in step and self.code == 0:
                self._step(step)

    def _step(self, step):
        environment = {name: self._resolved(value) for name, value in step.get("env", {}).items()}
        done = subprocess.run(
            ["/bin/bash", "-e", "-c", step["run"]],
            env={**self._ambient(), **environment},
            cwd=self._home,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        self.code = done.returncode
        masked = set()
        for line in done.stdout.splitlines():
            if line.startswith("::add-mask::"):
                masked.add(line.removeprefix("::add-mask::"))
                continue
            for secret in masked:
                line = line.replace(secret, "***")  # noqa: PLW2901 - the line as it is shown
            self.log += line + "\n"

    def _ambient(self):
        kept = ("PATH", "HOME", "TEST_GITHUB", "TIKTOK_OAUTH_BASE_URL", "PYTHONPATH")
        here = {name: os.environ[name] for name in kept}
        return {**here, "GITHUB_ACTIONS": "true", "RUNNER_TEMP": str(self._temporary)}

    def _resolved(self, value):
        known = {"github.repository": "octo/app"}
        known |= {f"secrets.{name}": secret for name, secret in self._secrets.items()}
        return re.sub(r"\$\{\{ (\S+) \}\}", lambda found: known[found[1]], value)


@pytest.fixture
def run_workflow(workflow, home, github, programs):
    """Runs the workflow once."""
    numbers = iter(range(100))
    return lambda: Run(workflow, home, github, next(numbers))


def held(github):
    """The token in the secret."""
    return TikTokToken(json.loads(github.value("TIKTOK_TOKEN"))["token"])


@pytest.mark.slow
def test_workflow__runs(run_workflow, home, fake, github, put):
    """Two days: each run refreshes, writes the secret back before its token is used, and shows no secret."""
    put()
    logs = ""
    for day in range(2):
        run = run_workflow()
        assert (0, "posted 200 ***") == (run.code, run.log.splitlines()[-1])
        assert fake.is_alive(held(github).refresh_token)
        logs += run.log
        fake.advance(90_000)
        put_back = TikTokToken(held(github), expires_at=1)
        github.put(
            "TIKTOK_TOKEN", json.dumps({**json.loads(github.value("TIKTOK_TOKEN")), "token": put_back})
        )
        assert 4 * (day + 1) == len([event for event in github.order if event in ("list", "set", "refresh")])

    assert ["list", "set", "refresh", "set"] == github.order[:4]
    assert 0 == fake.reuse_attempts
    assert {"github_pat_fake"} == {call["token"] for call in github.calls if "token" in call}
    assert {("--repo", "octo/app", "--env", "tiktok")} == {
        tuple(call["arguments"][-4:]) for call in github.calls if "arguments" in call
    }
    told = logs + json.dumps([call.get("arguments") for call in github.calls])
    issued = {token[name] for token in fake.tokens for name in ("access_token", "refresh_token")}
    assert [] == [secret for secret in issued if secret in told]
    assert "install tiktok-oauth-session\n" * 2 == (home / "installed").read_text()


def test_workflow__secret_cannot_be_written(run_workflow, fake, github, put):
    """Without the permission the step fails, nothing is posted, and the refresh token is not spent."""
    old = put()
    github.fail(set={"times": 99})
    run = run_workflow()

    assert 5 == run.code
    assert "gh secret set failed (1): failed to set secret: HTTP 403" in run.log
    assert "posted" not in run.log
    assert [] == fake.requests
    assert fake.is_alive(old["refresh_token"])


def test_workflow__excludes(workflow):
    """One run at a time, none is cut short, and the secret is read when its turn has come."""
    (job,) = workflow["jobs"].values()
    (url,) = (step["env"]["TIKTOK_OAUTH_STORE"] for step in job["steps"] if "env" in step)
    store = github_secret_store(url.replace("${{ github.repository }}", "octo/app"))

    assert {"group": "tiktok-token", "cancel-in-progress": False} == workflow["concurrency"]
    assert job["environment"] == store._secret.environment
    assert {"contents": "read"} == workflow["permissions"]


def test_page__first_token():
    """The line that puts the first token there is one that the command understands, with the same secret."""
    (line,) = re.findall(r"<!-- first-token -->\n```sh\n(.*)\n```", PAGE.read_text("utf-8"))
    arguments = parser().parse_args(shlex.split(line)[1:])

    assert ("TIKTOK_TOKEN", "tiktok") == github_secret_store(arguments.store)._secret[1:]
