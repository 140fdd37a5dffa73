"""A redis-server of the tests' own, on a free port and in a temporary directory."""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
import time

import pytest
from servers import lack

#: Seconds for the server to start or stop.
PATIENCE_S = 20.0
INSTALL = "there is no redis-server here: apt-get install redis-server"
#: The append-only file is flushed at every write; it and the snapshots can be searched as bytes.
OPTIONS = {
    "appendonly": "yes",
    "appendfsync": "always",
    "save": "",
    "rdbcompression": "no",
    "maxmemory-policy": "noeviction",
}


class RedisServer:
    """A server that can be stopped, killed and started again on the same port and the same files."""

    def __init__(self, directory, **options):
        self.directory = directory
        self.port = free_port()
        tls = "tls_cert_file" in options
        ports = {"tls-port": self.port, "port": 0} if tls else {"port": self.port}
        spelt = {name.replace("_", "-"): value for name, value in options.items()}
        self._options = {"bind": "127.0.0.1", "dir": directory, **OPTIONS, **ports, **spelt}
        self._reach = {
            "password": options.get("requirepass"),
            "ssl": tls,
            "ssl_ca_certs": str(options["tls_ca_cert_file"]) if tls else None,
        }
        self._process = None

    def client(self, **options):
        """Return a new client, which does not retry unless it is told to."""
        import redis
        from redis.backoff import NoBackoff
        from redis.retry import Retry

        reach = {name: value for name, value in self._reach.items() if value}
        defaults = {"host": "127.0.0.1", "socket_timeout": PATIENCE_S, "retry": Retry(NoBackoff(), 0)}
        return redis.Redis(port=self.port, **{**defaults, **reach, **options})

    def start(self):
        """Start it, and return when it answers."""
        import redis

        arguments = []
        for name, value in self._options.items():
            arguments += [f"--{name}", *(value if isinstance(value, tuple) else [str(value)])]
        with (self.directory / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [shutil.which("redis-server"), *arguments], stdout=log, stderr=log
            )
        deadline = time.monotonic() + PATIENCE_S
        with self.client() as client:
            while True:
                try:
                    client.ping()
                except redis.ConnectionError:
                    if self._process.poll() is not None or time.monotonic() > deadline:
                        raise RuntimeError((self.directory / "log").read_text()) from None
                    time.sleep(0.01)
                else:
                    return

    def stop(self, how=signal.SIGTERM):
        """Stop or kill it."""
        if self._process is not None:
            self._process.send_signal(how)
            self._process.wait(PATIENCE_S)
            self._process = None

    def __enter__(self):
        self.directory.mkdir(exist_ok=True)
        self.start()
        return self

    def __exit__(self, *exception):
        self.stop()


def free_port():
    """Return a port that nobody listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def require_redis_server():
    """Skip the test where there is no redis-server; fail it where there has to be one."""
    if shutil.which("redis-server") is None:
        lack(INSTALL)


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory):
    """A server for all tests; a test that stops it starts it again."""
    require_redis_server()
    with RedisServer(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture
def redis_client(redis_server):
    """A client of it, and no keys."""
    with redis_server.client() as client:
        client.flushall()
        yield client


@pytest.fixture
def redis_servers(tmp_path):
    """Starts servers with other options."""
    require_redis_server()
    started = []

    def start(**options):
        server = RedisServer(tmp_path / f"redis-{len(started)}", **options)
        started.append(server)
        return server.__enter__()

    yield start
    for server in started:
        server.stop()
