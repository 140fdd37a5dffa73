"""The client secret in the operating system's keyring, and where it is when there is none that works."""

from __future__ import annotations

import contextlib
import gc
import io
import re
import shutil
import subprocess
import sys
import threading

import pytest
from servers import lack, require_module

from tiktok_oauth_session.cli.settings import credentials, system_keyring
from tiktok_oauth_session.cli.settings.credentials import Credentials
from tiktok_oauth_session.cli.terminal import prompts

require_module("keyring")

import keyring  # noqa: E402 - only where it is installed
from keyring.backend import KeyringBackend  # noqa: E402 - as above
from keyring.backends import SecretService, fail, null  # noqa: E402 - as above
from keyring.errors import KeyringError, KeyringLocked  # noqa: E402 - as above

PATIENCE_S = 20.0
APP = Credentials("sbaw-test-key", "sbaw-test-secret")
KEPT = {("tiktok-oauth", "sbaw-test-key"): "sbaw-test-secret"}


class Keyring(KeyringBackend):
    """A keyring in memory, which knows how often it was asked."""

    priority = 5

    def __init__(self):
        super().__init__()
        self.kept, self.asked = {}, 0

    def be_asked(self, secret):
        """Do what a keyring does before it answers."""

    def get_password(self, service, username):
        self.asked += 1
        self.be_asked("")
        return self.kept.get((service, username))

    def set_password(self, service, username, password):
        self.asked += 1
        self.be_asked(password)
        self.kept[service, username] = password

    def delete_password(self, service, username):
        del self.kept[service, username]


class Broken(Keyring):
    """A keyring whose errors quote what it was to keep."""

    def be_asked(self, secret):
        raise KeyringError(f"Cannot keep {secret!r} of {APP[:2]}")


class Locked(Keyring):
    """A keyring that nobody unlocks, and that says so."""

    def be_asked(self, secret):
        raise KeyringLocked("Failed to unlock the collection!")


class Waiting(Keyring):
    """A keyring that waits for a person to unlock it."""

    def __init__(self):
        super().__init__()
        self.unlocked = threading.Event()

    def be_asked(self, secret):
        self.unlocked.wait(PATIENCE_S)


class InAFile(Keyring):
    """One that keyring uses where there is nothing better."""

    priority = 0.5


#: What does not keep a secret, and why.
FAILING = [
    (fail.Keyring, "No keyring can be used here. "),
    (null.Keyring, "No keyring can be used here. "),
    (InAFile, "No keyring can be used here. "),
    (Broken, "The keyring cannot be used (KeyringError). "),
    (Locked, "The keyring cannot be used (KeyringLocked). "),
    (Waiting, "The keyring has not answered within 0.05 s: is it locked? "),
]


@pytest.fixture
def file(home, monkeypatch):
    """Where the credentials file is; the environment holds none."""
    monkeypatch.delenv("TIKTOK_CLIENT_KEY")
    monkeypatch.delenv("TIKTOK_CLIENT_SECRET")
    return home / ".config/tiktok-oauth/credentials"


@pytest.fixture
def use(home):
    """Makes a keyring the system's."""
    before, used = keyring.get_keyring(), []

    def use(backend):
        keyring.set_keyring(backend)
        used.append(backend)
        return backend

    yield use
    keyring.set_keyring(before)
    for backend in used:
        if isinstance(backend, Waiting):
            backend.unlocked.set()


@pytest.fixture
def working(use):
    """A keyring that works."""
    return use(Keyring())


@pytest.fixture
def hurried(monkeypatch):
    """Nobody waits for longer than a moment."""
    monkeypatch.setattr(system_keyring, "TIMEOUT_S", 0.05)


@pytest.fixture
def nobody(monkeypatch):
    """There is no terminal to ask anybody at."""
    monkeypatch.setattr(prompts, "somebody_is_there", lambda: False)


def put(file, text):
    """Write the credentials file."""
    file.parent.mkdir(parents=True)
    file.touch(mode=0o600)
    file.write_text(text)


# --- keeping -------------------------------------------------------------------------------------------


def test_keep__in_the_keyring(file, working, nobody):
    """The secret goes into the keyring, and out of the file, which keeps the rest."""
    put(file, "TIKTOK_CLIENT_SECRET=old\nTIKTOK_REDIRECT_URI=https://app.example/cb\n")
    said = credentials.keep(APP)

    assert KEPT == working.kept
    lines = [line for line in file.read_text().splitlines() if not line.startswith("#")]
    assert ["TIKTOK_REDIRECT_URI=https://app.example/cb", "TIKTOK_CLIENT_KEY=sbaw-test-key"] == lines
    assert f"The client secret is kept in the keyring, and the client key in {file}." == said
    assert credentials.require() == APP


@pytest.mark.parametrize(("kind", "why"), FAILING)
def test_keep__in_the_file(file, use, nobody, hurried, kind, why):
    """A keyring that does not keep it, or gives no answer: the private file does, and a sentence says so."""
    use(kind())
    said = credentials.keep(APP)

    assert f"{why}The client secret is kept in {file}, which only you can read." == said
    assert "TIKTOK_CLIENT_SECRET=sbaw-test-secret\n" in file.read_text()
    assert 0o600 == file.stat().st_mode & 0o777
    assert credentials.require() == APP


def test_keep__taken_by_nobody(file, use):
    """A keyring that takes the secret without an error and has forgotten it is found out."""

    class Forgetful(Keyring):
        def set_password(self, service, username, password):
            pass

    use(Forgetful())

    assert credentials.keep(APP).startswith("The keyring does not keep the secret. The client secret is kept")
    assert "sbaw-test-secret" in file.read_text()


def test_keep__without_the_extra(file, working, monkeypatch):
    """Without the extra the file is used, and nothing is missing."""
    monkeypatch.setattr(system_keyring, "is_installed", lambda: False)

    assert f"The client secret is kept in {file}, which only you can read." == credentials.keep(APP)
    assert 0 == working.asked


@pytest.mark.parametrize(
    ("backend", "where"), [(Keyring, "the keyring, and the client key in"), (fail.Keyring, "")]
)
def test_login__keeps(file, fake, run, use, capsys, monkeypatch, backend, where):
    """A login for which key and secret were asked offers to keep them, and says where they are then."""

    class Pasting(io.StringIO):
        def readline(self):
            address = re.search(r"http://127\S+/v2/auth/authorize/\S+", capsys.readouterr().err)
            return fake.authorize(address.group())

    questions = []
    answers = iter(["sbaw-test-key\n", "\n"])
    use(backend())
    monkeypatch.setattr("sys.stdin", Pasting())
    monkeypatch.setattr(prompts, "somebody_is_there", lambda: True)
    monkeypatch.setattr(prompts, "ask_for_secret", lambda question: "sbaw-test-secret")
    monkeypatch.setattr(prompts, "_read_line", lambda each: questions.append(each) or next(answers))
    code, _, err = run("login", "--paste")

    assert 0 == code
    question = f"Keep the client key and secret in this system's keyring and {file}? [Y/n] "
    assert ["Client key: ", question] == questions
    assert f"The client secret is kept in {where or file}" in err
    assert bool(where) == ("sbaw-test-secret" not in file.read_text())


# --- looking -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("environment", "text", "expected", "asked"),
    [
        ("mine", "TIKTOK_CLIENT_SECRET=filed", ("mine", "the environment"), 0),
        ("", "TIKTOK_CLIENT_SECRET=filed", ("filed", "{file}"), 0),
        ("", "", ("sbaw-test-secret", "the keyring"), 1),
    ],
)
def test_find__order(file, working, monkeypatch, environment, text, expected, asked):
    """The environment comes first, then the file; only then is keyring asked, or even imported."""
    working.kept.update(KEPT)
    put(file, f"TIKTOK_CLIENT_KEY=sbaw-test-key\n{text}\n")
    monkeypatch.setenv("TIKTOK_CLIENT_SECRET", environment)
    found = credentials.find_secret("sbaw-test-key")

    assert tuple(each.format(file=file) for each in expected) == found[:2]
    assert asked == working.asked
    assert found.secret not in repr(found)

    monkeypatch.delitem(sys.modules, "keyring")
    keyring_core = sys.modules["keyring.core"]
    assert found == credentials.find_secret("sbaw-test-key")
    assert bool(asked) == ("keyring" in sys.modules)
    assert keyring_core is sys.modules["keyring.core"]


@pytest.mark.parametrize(
    ("kind", "why"), [*FAILING, (Keyring, "The keyring holds no secret of sbaw-test-key. ")]
)
def test_find__not_there(file, use, run, nobody, hurried, monkeypatch, kind, why):
    """Where it is nowhere and nobody can be asked, one line says so, and why the keyring did not help."""
    use(kind())
    put(file, "TIKTOK_CLIENT_KEY=sbaw-test-key\n")
    code, out, err = run("login")

    assert (2, "", 1) == (code, out, len(err.splitlines()))
    assert err.startswith("tiktok-oauth: No TIKTOK_CLIENT_SECRET: set it in the environment, or write ")
    assert err.endswith(f"(mode 600). {why.strip()}\n")
    assert "sbaw-test-secret" not in err


def test_find__somebody_to_ask(file, use, hurried, monkeypatch, capsys):
    """Whoever is asked is told why."""
    use(Waiting())
    put(file, "TIKTOK_CLIENT_KEY=sbaw-test-key\n")
    monkeypatch.setattr(prompts, "somebody_is_there", lambda: True)
    monkeypatch.setattr(prompts, "ask_for_secret", lambda question: "sbaw-test-secret")

    assert (*APP[:2], True) == credentials.require()
    assert "The keyring has not answered within 0.05 s: is it locked?\n" == capsys.readouterr().err


def test_token__of_the_keyring(file, working, run, fake, logged_in):
    """A fresh token never touches the keyring; an expired one is refreshed with the secret in it."""
    working.kept.update(KEPT)
    _, token = logged_in()
    assert (0, f"{token['access_token']}\n", "") == run("token")
    assert 0 == working.asked

    logged_in(ends_in=-1)
    assert 0 == run("token").code
    assert (1, "refresh") == (working.asked, fake.requests[-1].endpoint)


@pytest.mark.parametrize(
    ("backend", "text", "words"),
    [
        (Keyring, "", "a secret of 16 characters from the keyring"),
        (Keyring, "TIKTOK_CLIENT_SECRET=sbaw-test-secret", "a secret of 16 characters from {file}"),
        (Locked, "", "no TIKTOK_CLIENT_SECRET in the environment or in {file}. The keyring cannot be used"),
    ],
)
def test_doctor__says_where(file, use, run, backend, text, words):
    """`doctor` says where the secret is, and does not show it."""
    use(backend()).kept.update(KEPT)
    put(file, f"TIKTOK_CLIENT_KEY=sbaw-test-key\n{text}\n")
    _, out, err = run("doctor")

    assert words.format(file=file) in out
    assert "sbaw-test-secret" not in out + err


def test_waiting__process_ends(file):
    """A process ends though a keyring still waits for somebody."""
    put(file, "TIKTOK_CLIENT_KEY=sbaw-test-key\n")
    script = (
        "import keyring, threading\n"
        "from keyring.backends.null import Keyring\n"
        "from tiktok_oauth_session.cli.settings import credentials, system_keyring\n"
        "class Waiting(Keyring):\n"
        "    priority = 5\n"
        "    def get_password(self, service, username): threading.Event().wait()\n"
        "keyring.set_keyring(Waiting())\n"
        "system_keyring.TIMEOUT_S = 0.05\n"
        "print(credentials.find_secret('sbaw-test-key').complaint)\n"
    )
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, check=True)

    assert ("The keyring has not answered within 0.05 s: is it locked?\n", "") == (done.stdout, done.stderr)


# --- a real one ----------------------------------------------------------------------------------------


@pytest.fixture
def secret_service(home, use, monkeypatch):
    """GNOME's keyring on a bus of its own; the program that it has ask for a password is the test's."""
    require_module("secretstorage")
    bus, daemon = map(shutil.which, ("dbus-daemon", "gnome-keyring-daemon"))
    if not (bus and daemon):
        lack("there is no GNOME keyring here: apt-get install dbus-daemon gnome-keyring")
    services = home / "dbus-1/services"
    services.mkdir(parents=True)
    for variable in ("XDG_DATA_HOME", "XDG_RUNTIME_DIR"):
        monkeypatch.setenv(variable, str(home))
    quiet = {"stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL, "text": True}
    started = []

    def begin(prompter):
        name = "org.gnome.keyring.SystemPrompter"
        (services / f"{name}.service").write_text(f"[D-BUS Service]\nName={name}\nExec={prompter}\n")
        started.append(subprocess.Popen([bus, "--session", "--nofork", "--print-address"], **quiet))
        monkeypatch.setenv("DBUS_SESSION_BUS_ADDRESS", started[0].stdout.readline().strip())
        command = [daemon, "--foreground", "--unlock", "--components=secrets"]
        started.append(subprocess.Popen(command, stdin=subprocess.PIPE, **quiet))
        started[1].stdin.write("correct-horse-battery")
        started[1].stdin.close()
        # It closes this when it can be asked.
        started[1].stdout.read()
        return use(SecretService.Keyring())

    yield begin
    for process in reversed(started):
        process.terminate()
        process.wait(PATIENCE_S)
        process.stdout.close()
    for thread in threading.enumerate():
        if thread.name == "keyring":
            thread.join(PATIENCE_S)
    # keyring leaves its connection to a keyring that stays locked behind.
    gc.collect()


def test_secret_service__keeps(file, secret_service, nobody, monkeypatch):
    """GNOME's keyring keeps the secret, and gives it out again."""
    monkeypatch.setattr(system_keyring, "TIMEOUT_S", PATIENCE_S)
    secret_service("/bin/false")

    assert credentials.keep(APP).startswith("The client secret is kept in the keyring")
    assert "sbaw-test-secret" not in file.read_text()
    assert ("sbaw-test-secret", "the keyring", "") == credentials.find_secret("sbaw-test-key")


# See the fixture's end.
@pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")
@pytest.mark.parametrize(
    ("prompter", "timeout_s", "why"),
    [
        ("/bin/false", PATIENCE_S, "The keyring cannot be used (KeyringLocked)."),
        ("/bin/sleep 5", 0.5, "The keyring has not answered within 0.5 s: is it locked?"),
    ],
    ids=["nobody can be asked", "somebody is asked"],
)
def test_secret_service__locked(file, secret_service, nobody, monkeypatch, prompter, timeout_s, why):
    """A locked one is given up, whether it says so or waits for a person; what is new goes into the file."""
    import secretstorage

    monkeypatch.setattr(system_keyring, "TIMEOUT_S", PATIENCE_S)
    secret_service(prompter).set_password("tiktok-oauth", "sbaw-test-key", "sbaw-test-secret")
    with contextlib.closing(secretstorage.dbus_init()) as connection:
        secretstorage.get_default_collection(connection).lock()
    monkeypatch.setattr(system_keyring, "TIMEOUT_S", timeout_s)

    assert ("", "", why) == credentials.find_secret("sbaw-test-key")
    assert f"{why} The client secret is kept in {file}, which only you can read." == credentials.keep(APP)
    assert credentials.require() == APP
