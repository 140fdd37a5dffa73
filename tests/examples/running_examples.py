"""The examples of the documentation, served by three workers, and the TikTok that they talk to."""

from __future__ import annotations

import contextlib
import dataclasses
import socket
import sqlite3
import subprocess
import sys
from pathlib import Path

from child_processes import environment
from web_servers import WebServer

from tiktok_oauth_session.testing import FakeTikTok

EXAMPLES = Path(__file__).parents[2] / "docs/examples"
WORKERS = 3
GUNICORN = ("gunicorn", f"--workers={WORKERS}", "--threads=4", "--worker-tmp-dir=/tmp", "--no-control-socket")
UVICORN = ("uvicorn", f"--workers={WORKERS}", "--no-access-log")


@dataclasses.dataclass(frozen=True)
class Example:
    """How an example is started, and where TikTok sends its visitors back to."""

    needs: str
    folder: Path
    application: str
    callback: str
    server: tuple[str, ...] = GUNICORN
    #: What is done before it is served for the first time.
    prepare: tuple[str, ...] = ()

    @property
    def is_up(self):
        """What each of its workers says when it is."""
        return "Booting worker" if self.server == GUNICORN else "Application startup complete"

    def command(self, port):
        """Return the command that serves it."""
        where = [f"--bind=127.0.0.1:{port}"] if self.server == GUNICORN else [f"--port={port}"]
        return [sys.executable, "-m", *self.server, *where, self.application]


KNOWN = {
    "flask": Example("flask_dance", EXAMPLES, "flask_app:app", "/tiktok/authorized"),
    "django": Example(
        "django",
        EXAMPLES / "django_site",
        "mysite.wsgi:application",
        "/tiktok/callback/",
        prepare=("manage.py", "migrate", "--verbosity=0"),
    ),
    "fastapi": Example("fastapi", EXAMPLES, "fastapi_app:app", "/tiktok/callback", server=UVICORN),
}


class Running:
    """An example that runs, the TikTok that it talks to, and where it keeps tokens."""

    def __init__(self, example, folder):
        self._example, self._folder = example, folder
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            self._port = listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self._port}"
        self.redirect_uri = self.url + example.callback
        self.database = folder / "example.sqlite3"
        self.fake = FakeTikTok(redirect_uris=[self.redirect_uri])

    @contextlib.contextmanager
    def served(self):
        """Serve it, and TikTok."""
        with self.fake.serve() as tiktok:
            variables = {
                "TIKTOK_CLIENT_KEY": self.fake.client_key,
                "TIKTOK_CLIENT_SECRET": self.fake.client_secret,
                "TIKTOK_OAUTH_BASE_URL": tiktok.url,
                "TIKTOK_REDIRECT_URI": self.redirect_uri,
                "SECRET_KEY": "correct-horse-battery-staple-correct-horse-battery-staple",
                "DATABASE_URL": f"sqlite:///{self.database}",
                "DATABASE_PATH": str(self.database),
                "PYTHONDONTWRITEBYTECODE": "1",
            }
            if self._example.prepare:
                command = [sys.executable, *self._example.prepare]
                folder = self._example.folder
                subprocess.run(command, cwd=folder, env=environment(**variables), check=True)
            command = self._example.command(self._port)
            self._server = WebServer(command, self._example.folder, log=self._folder, **variables)
            try:
                self._server.wait_until_said(self._example.is_up, WORKERS)
                yield self
            finally:
                self._server.stop()

    def stored(self, open_id):
        """Return how many tokens the store has of somebody."""
        with contextlib.closing(sqlite3.connect(self.database)) as database:
            ((number,),) = database.execute("SELECT count(*) FROM tiktok_tokens WHERE open_id = ?", [open_id])
        return number

    @property
    def log(self):
        """What it has logged."""
        return self._server.log

    def lifetime(self, seconds):
        """Let access tokens that TikTok issues from now on live so long."""
        tiktok = self.fake._tiktok
        tiktok.policy = dataclasses.replace(tiktok.policy, access_lifetime=seconds)

    @contextlib.contextmanager
    def store_down(self):
        """Let the file of the database be none, for everybody who has it open as well."""
        whole = self.database.read_bytes()
        try:
            self._overwrite(b"this is no database " * (len(whole) // 20))
            yield
        finally:
            self._overwrite(whole)

    def _overwrite(self, content):
        with self.database.open("r+b") as file:
            file.write(content)
