"""``github-secret://``: a token in a secret of GitHub Actions, through a stand-in for ``gh``."""

from __future__ import annotations

import contextlib
import json
import math
import os
import re
import shutil
import signal
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tiktok_oauth_session import AccountKey, TikTokToken
from tiktok_oauth_session.cli.stores.gh import Secret
from tiktok_oauth_session.cli.stores.github_secret import TOLERANCE_S, github_secret_store

NAME = "TIKTOK_TOKEN"
URL = f"github-secret://octo/app/{NAME}"
IN_ENVIRONMENT = f"{URL}?environment=tiktok"
LIST = ["secret", "list", "--json", "name,updatedAt", "--repo", "octo/app"]
SET = ["secret", "set", NAME, "--repo", "octo/app"]


@pytest.fixture(autouse=True)
def store(github, monkeypatch):
    """The store of every command here."""
    monkeypatch.setenv("TIKTOK_OAUTH_STORE", URL)


@pytest.fixture
def begin_job(home, github, monkeypatch):
    """Begins a job, which is given the secret as it is now, or as it was when its run was queued."""

    def begin(*, given=None):
        monkeypatch.setenv("RUNNER_TEMP", tempfile.mkdtemp(prefix="runner-", dir=home))
        monkeypatch.setenv("GITHUB_ACTIONS", "true")
        monkeypatch.setenv(NAME, github.value(NAME) if given is None else given)

    return begin


def held(github):
    """The token in the secret."""
    return TikTokToken(json.loads(github.value(NAME))["token"])


def secrets_of(fake):
    """Every token that TikTok has issued."""
    return {token[name] for token in fake.tokens for name in ("access_token", "refresh_token")}


def masks(err):
    """Take the lines that the runner takes from a log; return what they mask, and what is left."""
    lines = err.splitlines(keepends=True)
    masked = [line for line in lines if line.startswith("::add-mask::")]
    unescaped = [m.removeprefix("::add-mask::").rstrip("\n").replace("%25", "%") for m in masked]
    return unescaped, "".join(line for line in lines if line not in masked)


# --- in a job ------------------------------------------------------------------------------------------


def test_job__refreshes(run, fake, github, begin_job, put):
    """The secret is written before TikTok is asked, and has the new token before that is printed."""
    old = put()
    begin_job()
    code, out, err = run("token")

    new = held(github)
    assert (0, f"{new['access_token']}\n", "") == (code, out, masks(err)[1])
    assert ["list", "set", "refresh", "set"] == github.order
    assert fake.is_alive(new.refresh_token)
    assert old["refresh_token"] == json.loads(github.calls[1]["stdin"])["token"]["refresh_token"]
    assert [LIST, SET, SET] == [call["arguments"] for call in github.calls if "arguments" in call]


def test_job__no_secret_is_shown(run, fake, github, begin_job, put):
    """Tokens are on gh's stdin; what of them is printed is for the runner to blot out, and first."""
    old = put()
    begin_job()
    _, out, err = run("refresh")

    masked, said = masks(err)
    told = json.dumps([call.get("arguments") for call in github.calls]) + out + said
    assert {old["access_token"], old["refresh_token"], *secrets_of(fake)} == set(masked)
    assert len(masked) == len(set(masked))
    assert [] == [each for each in masked if each in told]


def test_job__masks_are_escaped(run, fake, github, begin_job, put):
    """A percent sign in a token is one to the runner, which reads %0A as a line break."""
    put(left=7000, access_token="act.50%0A")
    begin_job()

    assert "::add-mask::act.50%250A\n" in run("token").err


def test_job__fresh(run, fake, github, begin_job, put):
    """While the token works, neither TikTok nor GitHub is asked."""
    token = put(left=7000)
    begin_job()

    assert (0, f"{token['access_token']}\n") == run("token")[:2]
    assert [] == github.calls + fake.requests


def test_job__its_next_step(run, fake, github, begin_job, put):
    """The next step, which is given the spent token once more, goes by what the first one saved."""
    put()
    begin_job()
    first = run("token").out

    assert first == run("token").out
    assert 0 == run("refresh").code
    assert f"{held(github)['access_token']}\n" == run("token").out
    assert (2, 0) == (len(fake.requests_to("refresh")), fake.reuse_attempts)


@pytest.mark.slow
def test_job__steps_at_once(start, fake, github, begin_job, put):
    """Two steps in the background at once: one refresh."""
    put()
    begin_job()
    ended = [command.end() for command in [start("token") for _ in range(3)]]

    assert {(0, f"{held(github)['access_token']}\n")} == {result[:2] for result in ended}
    assert (1, 0) == (len(fake.requests_to("refresh")), fake.reuse_attempts)


def test_job__the_next_one(run, fake, github, begin_job, put):
    """The next job is given what this one saved."""
    put()
    for _ in range(3):
        begin_job()
        assert 0 == run("refresh").code

    assert fake.is_alive(held(github).refresh_token)
    assert (3, 0) == (len(fake.requests_to("refresh")), fake.reuse_attempts)


def test_job__environment(run, github, begin_job, put):
    """A secret of an environment is written there."""
    put()
    begin_job()
    code = run("token", "--store", IN_ENVIRONMENT).code

    assert 0 == code
    assert [["--env", "tiktok"]] * 3 == [c["arguments"][-2:] for c in github.calls if "arguments" in c]
    assert ["--repo", "octo/app"] == github.calls[0]["arguments"][-4:-2]


@pytest.mark.parametrize(
    "command", [["status"], ["accounts"], ["keep-alive", "--access-within", "60"], ["revoke"]]
)
def test_job__other_commands(run, fake, github, begin_job, put, command):
    """The other commands work on it as on any store."""
    token = put(refresh_expires_at=time.time() + 9)
    begin_job()
    code, out, _ = run(*command)

    assert code in (0, 1 if command == ["keep-alive"] else 0)
    assert token["open_id"] in out or out.startswith("1 due, 1 refreshed")
    assert [] == [each for each in secrets_of(fake) if each in out]


def test_job__logout(run, github, begin_job, put):
    """A secret that was deleted does not come back from what the job was given."""
    put(left=7000)
    begin_job()

    assert 0 == run("logout").code
    assert not (github.secrets / NAME).exists()
    assert ["delete"] == github.order
    assert 3 == run("token").code


def test_job__saves_at_once(github, begin_job, put, monkeypatch):
    """Two saves at once, of new logins, are written one after the other: the job has what the secret has."""
    old = put()
    begin_job()
    key = AccountKey("sbaw-test-key", old["open_id"])
    write, both, met = Secret.write, threading.Barrier(2), []

    def watched(secret, value, **options):
        with contextlib.suppress(threading.BrokenBarrierError):
            both.wait(0.5)
            met.append(value)
        write(secret, value, **options)

    monkeypatch.setattr(Secret, "write", watched)
    handles = [github_secret_store(URL) for _ in range(2)]
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda n: handles[n].save(key, TikTokToken(old, access_token=f"act.{n}")), range(2)))

    assert [] == met
    assert held(github) == handles[0].load(key) == handles[1].load(key)


# --- what is in the secret -----------------------------------------------------------------------------


def test_secret__refresh_token_alone(run, home, fake, github, begin_job, monkeypatch):
    """An environment's secret that is a refresh token and no more becomes a whole token at the first run."""
    monkeypatch.setenv("TIKTOK_OAUTH_STORE", IN_ENVIRONMENT)
    monkeypatch.delenv("TIKTOK_OAUTH_BASE_URL")
    monkeypatch.setattr("requests.sessions.HTTPAdapter", fake.adapter)
    begun = fake.issue_token()
    github.put(NAME, begun["refresh_token"])
    begin_job()
    code, out, _ = run("token")

    assert (0, f"{held(github)['access_token']}\n") == (code, out)
    assert ["set", "refresh", "set"] == github.order
    assert (begun["open_id"], NAME) == (held(github)["open_id"], json.loads(github.value(NAME))["open_id"])
    begin_job()
    assert out == run("token").out


@pytest.mark.parametrize(
    "said", [{}, *({"saved_at": value} for value in (None, "soon", 10**400, math.nan, math.inf))]
)
def test_secret__of_a_repository_and_by_hand(run, fake, github, begin_job, put, said):
    """A repository's secret that does not say when it was written is not refreshed: exit code 5."""
    put()
    document = json.loads(github.value(NAME))
    del document["saved_at"]
    github.put(NAME, json.dumps({**document, **said}))
    begin_job()
    code, out, err = run("token")

    assert (5, "") == (code, out)
    assert "does not say when it was written" in err
    assert "run tiktok-oauth import FILE --replace --store with the same URL" in err
    assert "?environment=" in err
    assert [] == fake.requests
    assert "set" not in github.order


def test_secret__of_a_repository_and_by_hand_queued(run, fake, github, begin_job, monkeypatch):
    """So two runs that were queued with one refresh token do not both spend it."""
    monkeypatch.delenv("TIKTOK_OAUTH_BASE_URL")
    monkeypatch.setattr("requests.sessions.HTTPAdapter", fake.adapter)
    given = fake.issue_token()["refresh_token"]
    codes = []
    for _ in range(2):
        begin_job(given=given)
        codes.append(run("token").code)

    assert [5, 5] == codes
    assert ([], True) == (fake.requests, fake.is_alive(given))


def test_secret__of_another_program(run, fake, github, begin_job, monkeypatch):
    """So does what `import` reads, such as a token dict with an expiry."""
    monkeypatch.delenv("TIKTOK_OAUTH_BASE_URL")
    token = {**fake.issue_token(), "expires_at": time.time() + 7000}
    begin_job(given=json.dumps(token))

    assert (0, f"{token['access_token']}\n") == run("token")[:2]
    assert f"{token['open_id']}\n" == run("accounts").out


@pytest.mark.parametrize(("given", "what"), [("", "no token"), ("hello", "no token"), ("[]", "no token")])
def test_secret__none(run, fake, github, begin_job, given, what):
    """A job that was given no token is told how to give it: exit code 5."""
    begin_job(given=given)
    code, out, err = run("token")

    assert (5, "") == (code, out)
    assert f"The variable {NAME} holds {what}. Give it to the step: below env, {NAME}: ${{{{ secrets." in err
    assert [] == fake.requests


def test_secret__several(run, fake, github, begin_job):
    """One secret, one account."""
    begin_job(given=json.dumps([fake.issue_token(user=fake.add_user()) for _ in range(2)]))

    assert "holds several tokens" in run("token").err


# --- what goes wrong -----------------------------------------------------------------------------------


def test_gh__not_there(run, fake, github, begin_job, put, monkeypatch):
    """Without gh nothing is spent: exit code 5."""
    old = put()
    begin_job()
    monkeypatch.setenv("PATH", str(github.secrets))
    code, out, err = run("token")

    assert (5, "") == (code, out)
    assert "There is no gh here" in err
    assert fake.is_alive(old["refresh_token"])
    assert [] == fake.requests


@pytest.mark.parametrize("verb", ["list", "set"])
def test_gh__no_permission(run, home, fake, github, begin_job, put, verb):
    """If the secret cannot be written, TikTok is not asked, and what gh says is shown without a secret."""
    old = put()
    begin_job()
    github.fail(**{verb: {"times": 99}})
    code, out, err = run("token")

    assert (5, "") == (code, out)
    assert f"gh secret {verb} failed (1): failed to set secret: HTTP 403" in err
    masked, said = masks(err)
    assert ("*** ***" in said) == (verb == "set")
    assert [] == [each for each in masked if each in said]
    assert [] == fake.requests
    assert fake.is_alive(old["refresh_token"])
    # Nor does the job believe that a refresh has begun.
    assert [] == list(home.glob("runner-*/tiktok-oauth/**/*.json"))
    github.fail()
    assert 0 == run("token").code
    assert 0 == fake.reuse_attempts


def test_gh__hangs(run, fake, github, begin_job, put, monkeypatch):
    """A gh that hangs is given up, and nothing is spent."""
    monkeypatch.setattr("tiktok_oauth_session.cli.stores.gh.GH_TIMEOUT_S", 0.2)
    put()
    begin_job()
    (github.bin / "gh").write_text("#!/bin/sh\nexec sleep 20\n")
    code, _, err = run("token")

    assert 5 == code
    assert "gh secret list has not ended within 0.2 s" in err
    assert [] == fake.requests


def test_gh__ctrl_c(start, fake, github, begin_job, put):
    """A Ctrl-C, which a terminal sends to a whole group of processes, does not reach gh in a write."""
    put()
    begin_job()
    (github.bin / "gh").rename(github.bin / "gh-itself")
    (github.bin / "gh").write_text(
        "#!/bin/sh\n"
        'cd "$TEST_GITHUB"\n'
        "if [ $2 = set ]; then echo >>attempts; echo >begun; read -r _ <go; fi\n"
        'exec bin/gh-itself "$@"\n'
    )
    (github.bin / "gh").chmod(0o700)
    pipes = [github.directory / name for name in ("begun", "go")]
    for pipe in pipes:
        os.mkfifo(pipe)
    # Both ways, so that neither side waits for the other to open it.
    begun, go = (os.open(pipe, os.O_RDWR) for pipe in pipes)
    try:
        command = start("token", start_new_session=True)
        os.read(begun, 1)
        os.write(go, b"\n")
        os.read(begun, 1)
        os.killpg(command.process.pid, signal.SIGINT)
        os.write(go, b"\n")
        code = command.end().code
    finally:
        os.close(begun)
        os.close(go)

    assert 130 == code
    assert "\n" * 2 == (github.directory / "attempts").read_text()
    assert ["list", "set", "refresh", "set"] == github.order
    assert fake.is_alive(held(github).refresh_token)


def test_gh__answers_something_else(run, fake, github, begin_job, put):
    """A gh that knows no --json is told of."""
    put()
    begin_job()
    (github.bin / "gh").write_text("#!/bin/sh\necho usage\n")
    code, _, err = run("token")

    assert 5 == code
    assert "update gh" in err
    assert [] == fake.requests


@pytest.mark.slow
def test_gh__fails_for_the_new_token(start, fake, github, begin_job, put):
    """A new token that gh does not take at once is offered again, before anybody is given it."""
    put()
    begin_job()
    github.fail(set={"after": 1, "times": 2})
    code, out, _ = start("token").end()

    assert (0, f"{held(github)['access_token']}\n") == (code, out)
    assert ["list", "set", "refresh", "set", "set", "set"] == github.order
    assert fake.is_alive(held(github).refresh_token)


def test_queued__before_the_last_refresh(run, fake, github, begin_job, put):
    """A job that was given the secret before another one wrote it spends nothing: exit code 5."""
    put(saved_s_ago=7200)
    queued = github.value(NAME)
    begin_job()
    assert 0 == run("refresh").code
    begin_job(given=queued)
    code, out, err = run("token")

    assert (5, "") == (code, out)
    assert "was written after this job was given it: nothing was sent. Run the workflow again." in err
    assert fake.is_alive(held(github).refresh_token)
    assert (1, 0) == (len(fake.requests_to("refresh")), fake.reuse_attempts)


@pytest.mark.parametrize("store", [URL, IN_ENVIRONMENT])
@pytest.mark.parametrize(("late_s", "code"), [(-1, 0), (0, 0), (1, 5)])
def test_queued__written_within_the_tolerance(run, fake, github, begin_job, put, store, late_s, code):
    """A secret counts as newer if GitHub's time of it is later than its own by more than gh may take."""
    put(saved_s_ago=600)
    begin_job()
    saved_at = json.loads(github.value(NAME))["saved_at"]
    os.utime(github.secrets / NAME, (saved_at + TOLERANCE_S + late_s,) * 2)

    assert 35.0 == TOLERANCE_S
    assert code == run("token", "--store", store).code
    assert (code == 0) == bool(fake.requests)


def test_queued__at_once(run, fake, github, begin_job, put):
    """Of two runs that were queued with a secret a minute old, the second spends and overwrites nothing."""
    put(saved_s_ago=60)
    given = github.value(NAME)
    begin_job(given=given)
    assert 0 == run("refresh").code
    new = github.value(NAME)
    begin_job(given=given)

    assert 5 == run("refresh").code
    assert new == github.value(NAME)
    assert fake.is_alive(held(github).refresh_token)
    assert (1, 0) == (len(fake.requests_to("refresh")), fake.reuse_attempts)


@pytest.mark.slow
def test_killed__between_the_secret_and_the_jobs_file(start, fake, github, begin_job, put):
    """If a step is killed once the secret is written, the next one spends and overwrites nothing."""
    put(saved_s_ago=7200)
    begin_job()
    place = os.environ["RUNNER_TEMP"]
    fake.before("refresh", lambda _: shutil.copytree(place, f"{place}.killed"))
    assert 0 == start("token").end().code
    new = github.value(NAME)
    # As the file is if its step does not live to write it, and a minute later.
    shutil.rmtree(place)
    shutil.move(f"{place}.killed", place)
    (path,) = Path(place).rglob("*.json")
    document = json.loads(path.read_text())
    document["token"]["refresh_started_at"] -= 60
    path.write_text(json.dumps(document))
    code, out, err = start("token").end()

    assert (5, "") == (code, out)
    assert f"A step of this job ended in the middle of a refresh, so the secret {NAME} may hold" in err
    assert "nothing was sent. Run the workflow again." in err
    assert new == github.value(NAME)
    assert fake.is_alive(held(github).refresh_token)
    assert (1, 0) == (len(fake.requests_to("refresh")), fake.reuse_attempts)
    begin_job()
    assert f"{held(github)['access_token']}\n" == start("token").end().out


def test_killed__the_mark_of_this_process(run, fake, github, begin_job, put):
    """A lost reply is asked for once more by the very process that has marked the token."""
    put()
    begin_job()
    fake.fail("refresh", "reset_before")
    code, out, _ = run("token")

    assert (0, f"{held(github)['access_token']}\n") == (code, out)
    assert 2 == len(fake.requests_to("refresh"))


@pytest.mark.slow
def test_killed__a_refresh_that_is_known_to_have_ended(start, fake, github, begin_job, put):
    """Where a step lived to write down that TikTok gave no token, the next one asks again."""
    put()
    begin_job()
    fake.fail("refresh", "html")
    assert 4 == start("token").end().code
    assert "refresh_tries" in held(github)
    code, out, _ = start("token").end()

    assert (0, f"{held(github)['access_token']}\n") == (code, out)
    assert (2, 0) == (len(fake.requests_to("refresh")), fake.reuse_attempts)


def test_queued__deleted_meanwhile(run, fake, github, begin_job, put):
    """Neither does one whose secret has been deleted bring it back."""
    put()
    begin_job()
    (github.secrets / NAME).unlink()

    assert 5 == run("token").code
    assert not (github.secrets / NAME).exists()
    assert [] == fake.requests


# --- elsewhere -----------------------------------------------------------------------------------------


def test_elsewhere__import(run, home, fake, github, begin_job):
    """From a machine of one's own a token is put into the secret, and a job can use it."""
    token = {**fake.issue_token(), "expires_at": time.time() + 7000}
    (home / "theirs").write_text(json.dumps(token))
    (home / "theirs").chmod(0o600)
    code, out, err = run("import", str(home / "theirs"))

    assert (0, "") == (code, err)
    assert out.startswith(f"Imported: {token['open_id']}; ")
    begin_job()
    assert f"{token['access_token']}\n" == run("token").out


def test_elsewhere__import_over_a_secret(run, home, fake, github, put):
    """A secret that is there may hold a newer token, and nobody can look: only --replace overwrites it."""
    put()
    before = github.value(NAME)
    (home / "theirs").write_text(json.dumps(fake.issue_token()))
    code, out, err = run("import", str(home / "theirs"))

    assert (5, "", before) == (code, out, github.value(NAME))
    assert "--replace" in err
    assert 0 == run("import", "--replace", str(home / "theirs")).code
    assert before != github.value(NAME)


def test_elsewhere__doctor(run, put):
    """That gh may see a secret is no proof that it may write it: doctor does not say so."""
    put()
    result = run("doctor")

    assert 0 == result.code
    assert re.search(
        rf"store +unknown +{URL} may be seen; whether it may be written, only a login", result.out
    )
    assert "can be written" not in result.out


@pytest.mark.parametrize("command", ["status", "token", "logout"])
def test_elsewhere__nobody_can_look(run, put, command):
    """Outside a job nobody can tell who is logged in: exit code 3, and that is said."""
    put()
    code, _, err = run(command)

    assert 3 == code
    assert f"Only a workflow's job can read {URL}: whether somebody is logged in cannot be told here." in err


def test_elsewhere__several(run, home, fake, github):
    """Two accounts do not fit into one secret: the first stays."""
    (home / "theirs").write_text(json.dumps([fake.issue_token(user=fake.add_user(u)) for u in ("a", "b")]))
    code, _, err = run("import", str(home / "theirs"))

    assert (5, "a") == (code, held(github)["open_id"])
    assert "holds the account a and has room for one" in err


@pytest.mark.slow
def test_elsewhere__login(start, fake, github, begin_job, home):
    """So does a login, which finds out first whether gh may see secrets at all."""
    github.fail(list={"times": 1})
    assert 5 == start("login", "--no-browser").end().code

    command = start("login", "--no-browser")
    import requests

    with requests.Session() as http:
        http.trust_env = False
        http.get(fake.authorize(command.see_login()), timeout=20)
    assert 0 == command.end().code
    assert fake.is_alive(held(github).refresh_token)
    assert "user.info.basic" == held(github)["requested_scope"]


@pytest.mark.parametrize(
    "url",
    [
        "github-secret://",
        "github-secret://octo/app",
        "github-secret://octo/app/",
        "github-secret://octo/app/A/B",
        "github-secret://-octo/app/A",
        "github-secret://octo/-app/A",
        "github-secret://octo/app/-A",
        "github-secret://octo/app/1A",
        "github-secret://octo/app/A B",
        "github-secret://octo/app/A#b",
        "github-secret://octo/app/A?bogus=1",
        "github-secret://octo/app/A?environment=",
        "github-secret://octo/app/A?environment=--repo",
        "github-secret://[/app/A",
    ],
)
def test_bad__url(run, github, url):
    """What names no secret, or would be an option of gh's: exit code 2, one line, and gh is not run."""
    code, out, err = run("status", "--store", url)

    assert (2, "", 1) == (code, out, len(err.splitlines()))
    assert [] == github.calls
