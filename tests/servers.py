"""Database servers of the tests' own, on free ports and in temporary directories."""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import itertools
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import tempfile
import time
from pathlib import Path
from typing import ClassVar

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
    pytest.skip(reason, allow_module_level=True)


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
        self._has_tables = False
        #: How often everybody's connection was cut.
        self.cuts = 0
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
            self.cuts += 1
            self._process.send_signal(how or self.polite)
            self._process.wait(PATIENCE_S)
            self._process = None

    def restart(self):
        """Stop it, and start it again."""
        self.stop()
        self.start()

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

        tables = sqlalchemy.MetaData()
        tables.reflect(self._own_engine)
        tables.drop_all(self._own_engine)
        self._has_tables = False

    def empty(self):
        """Have the tables of `SQLStore`, with nothing in them."""
        from tiktok_oauth_session.stores.sql import metadata

        if not self._has_tables:
            self.clear()
            metadata.create_all(self._own_engine)
            self._has_tables = True
        with self._own_engine.begin() as connection:
            for table in metadata.tables.values():
                connection.execute(table.delete())

    @functools.cached_property
    def _own_engine(self):
        return self.engine(pool_pre_ping=True)

    def __enter__(self):
        try:
            self.install()
            self.start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *exception):
        if "_own_engine" in vars(self):
            self._own_engine.dispose()
        self.stop(signal.SIGKILL)
        shutil.rmtree(self.directory)

    def lose_locks(self):
        """Let the leases that are held be over, and be somebody else's who has gone."""
        self.ask("UPDATE tiktok_tokens_locks SET expires = 0, holder = 'somebody else'")


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
        self.cuts += 1
        others = "FROM pg_stat_activity WHERE usename = 'tiktok' AND pid != pg_backend_pid()"
        self.ask(f"SELECT pg_terminate_backend(pid) {others}")


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

        self.cuts += 1
        others = "FROM information_schema.processlist WHERE user = 'tiktok' AND id != CONNECTION_ID()"
        for (connection,) in self.ask(f"SELECT id {others}"):
            # One may have ended by itself meanwhile.
            with contextlib.suppress(sqlalchemy.exc.OperationalError):
                self.ask(f"KILL {connection}")


class PgBouncer(Server):
    """PgBouncer, which lends connections to a PostgreSQL for one transaction."""

    package, user = "pgbouncer", "postgres"
    binaries = ("pgbouncer",)
    polite = signal.SIGINT
    #: For engines: it knows nothing of what psycopg prepares. (From 1.21 on it would.)
    options: ClassVar = {"connect_args": {"prepare_threshold": None}}
    url = PostgreSQL.url

    def __init__(self, postgresql):
        super().__init__()
        self._postgresql = postgresql

    def install(self):
        settings = {
            "listen_addr": "127.0.0.1",
            "listen_port": self.port,
            "unix_socket_dir": "",
            "auth_type": "scram-sha-256",
            "auth_file": self.directory / "users",
            "pool_mode": "transaction",
            "default_pool_size": 4,
            "max_client_conn": 500,
        }
        lines = [f"{name} = {value}" for name, value in settings.items()]
        database = f"postgres = host=127.0.0.1 port={self._postgresql.port}"
        (self.directory / "ini").write_text("\n".join(["[databases]", database, "[pgbouncer]", *lines, ""]))
        (self.directory / "users").write_text(f'"tiktok" "{PASSWORD}"\n')

    def command(self):
        return ["pgbouncer", self.directory / "ini"]

    def engine(self, **options):
        """Return a new engine for it."""
        return super().engine(**self.options, **options)


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

    def lose_locks(self):
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


@pytest.fixture(scope="session")
def pgbouncer(postgresql):
    """A PgBouncer before the PostgreSQL."""
    PgBouncer.require()
    with PgBouncer(postgresql) as proxy:
        yield proxy


@pytest.fixture(scope="session")
def sqlite_file(tmp_path_factory):
    """A SQLite file that has the tables of `SQLStore`, to be copied."""
    from tiktok_oauth_session.stores.sql import metadata

    database = SQLite(tmp_path_factory.mktemp("sqlite") / "tokens.db")
    engine = database.engine()
    metadata.create_all(engine)
    engine.dispose()
    return database.path


@pytest.fixture(params=["postgresql", "mariadb", "sqlite"])
def database(request, tmp_path):
    """A database of each kind that SQLStore knows, with its tables and nothing in them."""
    if request.param == "sqlite":
        shutil.copy(request.getfixturevalue("sqlite_file"), tmp_path / "tokens.db")
        return SQLite(tmp_path / "tokens.db")
    server = request.getfixturevalue(request.param)
    server.empty()
    return server


@pytest.fixture(params=["postgresql", "mariadb"])
def database_server(request):
    """The same of each kind that has a server."""
    server = request.getfixturevalue(request.param)
    server.empty()
    return server


@pytest.fixture
def bare_database(database):
    """A database of each kind without any table."""
    if isinstance(database, SQLite):
        database.path.unlink()
    else:
        database.clear()
    return database


@pytest.fixture
def engines():
    """Makes engines, and disposes of them."""
    made = []

    def make(database, **options):
        made.append(database.engine(**options))
        return made[-1]

    yield make
    for engine in made:
        deadline = time.monotonic() + 1
        while getattr(engine.pool, "checkedout", int)() and time.monotonic() < deadline:
            # A thread that renews leases may be at it.
            time.sleep(0.001)
        engine.dispose()


@pytest.fixture(scope="session")
def kept():
    """Engines that are connected already, by server and number."""
    engines = {}
    yield engines
    for engine, _ in engines.values():
        engine.dispose()


@pytest.fixture
def connected(kept, engines):
    """Lends engines without options, which are the same ones in every test unless its server cut them off."""
    lent = itertools.count()

    def lend(database):
        if isinstance(database, SQLite):
            return engines(database)
        name = database, next(lent)
        engine, cuts = kept.get(name, (None, None))
        if cuts != database.cuts:
            if engine:
                engine.dispose()
            engine = database.engine()
            kept[name] = engine, database.cuts
        return engine

    return lend
