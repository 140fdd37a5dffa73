"""Database servers of the tests' own, on free ports and in temporary directories."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import tempfile
import time
from pathlib import Path

import pytest

#: Seconds for a server to start or stop.
PATIENCE_S = 60.0
#: Stands in the address of every server; no error and no log may show it.
PASSWORD = "correct-horse-battery"


def require_module(name):
    """Skip the test where a package is not installed; fail it where it has to be."""
    if importlib.util.find_spec(name) is None:
        lack(f"{name} is not installed: it is in the extra [test]")


def lack(reason):
    """Skip the test that cannot be run here; fail it where it has to be."""
    if os.environ.get("TIKTOK_OAUTH_REQUIRE_SERVERS") == "1":
        pytest.fail(reason)
    pytest.skip(reason)


class Server:
    """A server that can be stopped, killed and started again on the same port and the same files."""

    package: str
    #: Who runs it if the tests run as root: these servers refuse to.
    user: str
    binaries: tuple[str, ...]
    #: Where Debian keeps binaries that are not for everybody, below the root.
    folders = ""

    def __init__(self):
        self._as = {}
        parent = None
        if os.geteuid() == 0:
            self._as = {"user": self.user, "group": self.user, "extra_groups": []}
            # TMPDIR may be a directory that only root can enter.
            parent = "/tmp"  # noqa: S108 - mkdtemp makes a private one below it
        self.directory = Path(tempfile.mkdtemp(prefix="tiktok-", dir=parent))
        if self._as:
            shutil.chown(self.directory, self.user, self.user)
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            self.port = listener.getsockname()[1]
        self._process = None
        self._paths = {name: self.find(name) for name in self.binaries}

    @classmethod
    def find(cls, name):
        """Return where a binary is; None if it is not installed."""
        # The latest version first.
        folders = sorted(map(str, Path("/").glob(cls.folders)), reverse=True) if cls.folders else []
        return shutil.which(name, path=os.pathsep.join([*folders, os.environ["PATH"], "/usr/sbin"]))

    @classmethod
    def require(cls):
        """Skip the test where the server is not installed; fail it where it has to be."""
        missing = [name for name in cls.binaries if cls.find(name) is None]
        if missing:
            lack(f"there is no {missing[0]} here: apt-get install {cls.package}")

    def run(self, *command):
        """Run one of its tools, and return when that has ended."""
        name, *arguments = map(str, command)
        done = subprocess.run(
            [self._paths[name], *arguments],
            cwd=self.directory,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            **self._as,
            check=False,
        )
        if done.returncode:
            raise RuntimeError(done.stdout)

    def start(self):
        """Start it, and return when it answers."""
        name, *arguments = map(str, self.command())
        with (self.directory / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [self._paths[name], *arguments], cwd=self.directory, stdout=log, stderr=log, **self._as
            )
        deadline = time.monotonic() + PATIENCE_S
        while not self.answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError((self.directory / "log").read_text())
            time.sleep(0.02)

    def stop(self, how=None):
        """Stop it, or kill it by a signal of your choice."""
        if self._process is not None:
            self._process.send_signal(how or self.polite)
            self._process.wait(PATIENCE_S)
            self._process = None

    def answers(self):
        """Tell whether it lets somebody in."""
        import sqlalchemy

        engine = self.engine(poolclass=sqlalchemy.NullPool)
        try:
            with engine.connect():
                return True
        except sqlalchemy.exc.OperationalError:
            return False

    def engine(self, **options):
        """Return a new engine for it."""
        import sqlalchemy

        return sqlalchemy.create_engine(self.url, **options)

    def ask(self, statement):
        """Return what a statement returns, run on a connection of its own."""
        import sqlalchemy

        engine = self.engine(poolclass=sqlalchemy.NullPool, isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            result = connection.exec_driver_sql(statement)
            return result.all() if result.returns_rows else []

    def clear(self):
        """Drop every table."""
        import sqlalchemy

        engine = self.engine(poolclass=sqlalchemy.NullPool)
        tables = sqlalchemy.MetaData()
        tables.reflect(engine)
        tables.drop_all(engine)

    def __enter__(self):
        try:
            self.install()
            self.start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *exception):
        self.stop(signal.SIGKILL)
        shutil.rmtree(self.directory)


class PostgreSQL(Server):
    """PostgreSQL, which takes a password from everybody."""

    package, user = "postgresql", "postgres"
    binaries = ("initdb", "postgres")
    folders = "usr/lib/postgresql/*/bin"
    polite = signal.SIGINT

    @property
    def url(self):
        return f"postgresql+psycopg://tiktok:{PASSWORD}@127.0.0.1:{self.port}/postgres"

    def install(self):
        secret = self.directory / "password"
        secret.write_text(PASSWORD)
        secret.chmod(0o644)
        options = [
            "-A",
            "scram-sha-256",
            "-U",
            "tiktok",
            f"--pwfile={secret}",
            "--locale=C.UTF-8",
            "--no-sync",
        ]
        self.run("initdb", "-D", self.directory / "data", *options)

    def command(self):
        network = ["-c", "listen_addresses=127.0.0.1", "-p", self.port, "-k", self.directory]
        # What the operating system has is safe enough: tests kill servers, not machines.
        return ["postgres", "-D", self.directory / "data", *network, "-c", "fsync=off"]

    def cut(self):
        """Cut everybody's connection but this one."""
        others = "FROM pg_stat_activity WHERE usename = 'tiktok' AND pid != pg_backend_pid()"
        self.ask(f"SELECT pg_terminate_backend(pid) {others}")


class PgBouncer(Server):
    """PgBouncer in front of a PostgreSQL: a connection belongs to somebody for one transaction only."""

    package, user = "pgbouncer", "postgres"
    binaries = ("pgbouncer",)
    polite = signal.SIGINT

    def __init__(self, behind):
        super().__init__()
        self._behind = behind

    @property
    def url(self):
        return f"postgresql+psycopg://tiktok:{PASSWORD}@127.0.0.1:{self.port}/postgres"

    def install(self):
        behind = f"host=127.0.0.1 port={self._behind.port} user=tiktok password={PASSWORD}"
        settings = {
            "listen_addr": "127.0.0.1",
            "listen_port": self.port,
            "unix_socket_dir": self.directory,
            "auth_type": "any",
            "pool_mode": "transaction",
            "max_client_conn": 500,
        }
        written = "".join(f"{name} = {value}\n" for name, value in settings.items())
        (self.directory / "pgbouncer.ini").write_text(
            f"[databases]\npostgres = {behind}\n[pgbouncer]\n{written}"
        )

    def command(self):
        return ["pgbouncer", self.directory / "pgbouncer.ini"]


class MariaDB(Server):
    """MariaDB, on TCP only for a user with a password."""

    package, user = "mariadb-server", "mysql"
    binaries = ("mariadb-install-db", "mariadbd")
    polite = signal.SIGTERM

    @property
    def url(self):
        return f"mysql+pymysql://tiktok:{PASSWORD}@127.0.0.1:{self.port}/tiktok"

    @property
    def _files(self):
        return ["--no-defaults", f"--datadir={self.directory / 'data'}"]

    def install(self):
        self.run("mariadb-install-db", *self._files, "--skip-test-db")
        (self.directory / "init.sql").write_text(
            "CREATE DATABASE IF NOT EXISTS tiktok;\n"
            f"CREATE USER IF NOT EXISTS tiktok@127.0.0.1 IDENTIFIED BY '{PASSWORD}';\n"
            "GRANT ALL ON *.* TO tiktok@127.0.0.1;\n"
        )

    def command(self):
        files = [f"--{name}={self.directory / name}" for name in ("socket", "pid-file")]
        files.append(f"--init-file={self.directory / 'init.sql'}")
        network = ["--bind-address=127.0.0.1", f"--port={self.port}", "--skip-name-resolve"]
        # As above.
        return ["mariadbd", *self._files, *files, *network, "--innodb-flush-method=nosync"]

    def cut(self):
        """Cut everybody's connection but this one."""
        import sqlalchemy

        others = "FROM information_schema.processlist WHERE user = 'tiktok' AND id != CONNECTION_ID()"
        for (connection,) in self.ask(f"SELECT id {others}"):
            # One may have ended by itself meanwhile.
            with contextlib.suppress(sqlalchemy.exc.OperationalError):
                self.ask(f"KILL {connection}")


class SQLite:
    """A SQLite file, which is nobody's server, with what the tests do to servers."""

    def __init__(self, path, *, timeout=5.0):
        self.path = path
        # Seconds that SQLite waits for others.
        self.url = f"sqlite:///{path}?timeout={timeout}"
        self._outage = None

    engine, ask = Server.engine, Server.ask

    def stop(self):
        """Let nobody in."""
        self._outage = sqlite3.connect(self.path, isolation_level=None, check_same_thread=False)
        self._outage.execute("PRAGMA busy_timeout = 60000")
        self._outage.execute("BEGIN EXCLUSIVE")

    def start(self):
        """Let everybody in again."""
        self._outage.execute("ROLLBACK")
        self._outage.close()

    def cut(self):
        """Take their locks from those who hold them, as whoever deletes lock files does."""
        for file in Path(f"{self.path}.locks").iterdir():
            file.unlink()


@contextlib.contextmanager
def own_server(kind):
    """Lend a server that no other test uses."""
    kind.require()
    with kind() as server:
        yield server


@pytest.fixture(scope="session")
def pgbouncer(postgresql):
    """A PgBouncer in front of the PostgreSQL of all tests."""
    PgBouncer.require()
    with PgBouncer(postgresql) as server:
        yield server


@pytest.fixture(scope="session")
def postgresql():
    """A PostgreSQL for all tests; a test that stops it starts it again."""
    PostgreSQL.require()
    with PostgreSQL() as server:
        yield server


@pytest.fixture(scope="session")
def mariadb():
    """A MariaDB for all tests; a test that stops it starts it again."""
    MariaDB.require()
    with MariaDB() as server:
        yield server


@pytest.fixture(params=["postgresql", "mariadb", "sqlite"])
def database(request, tmp_path):
    """An empty database of each kind that SQLStore knows."""
    if request.param == "sqlite":
        return SQLite(tmp_path / "tokens.db")
    server = request.getfixturevalue(request.param)
    server.clear()
    return server


@pytest.fixture(params=["postgresql", "mariadb"])
def database_server(request):
    """An empty database of each kind that has a server."""
    server = request.getfixturevalue(request.param)
    server.clear()
    return server


@pytest.fixture
def engines():
    """Makes engines, and disposes of them."""
    made = []

    def make(database, **options):
        made.append(database.engine(**options))
        return made[-1]

    yield make
    for engine in made:
        engine.dispose()
