"""A whole installation for black-box tests: its own database, its own broker, processes that can be killed."""

from __future__ import annotations

import atexit
import contextlib
import functools
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psycopg2
import pytest

ROOT = Path(__file__).resolve().parent.parent
SERVER = "host=127.0.0.1 port=5432 user=postgres"
START_S = 60


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def eventually(is_true: Callable[[], Any], within_s: float = 20) -> Any:
    """Wait until something is so, and return it. Raises `AssertionError` when it is not in time."""
    give_up = time.monotonic() + within_s
    while not (value := is_true()):
        assert time.monotonic() < give_up, "it did not happen in time"
        time.sleep(0.05)
    return value


@dataclass
class Installation:
    """Processes of one installation in `folder`. Without a database of its own it is the embedded one, on SQLite."""

    folder: Path
    database: str = ""
    database_port: int = 5432
    redis_port: int = 0
    environment: dict[str, str] = field(default_factory=dict)
    web_port: int = field(default_factory=free_port)
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def variables(self) -> dict[str, str]:
        chosen = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.folder),
            "LANG": "C.UTF-8",
            "SIGNET_DATA_DIR": str(self.folder),
            "SIGNET_SECRET_KEY": "a-secret-of-the-tests",
            "SIGNET_LANGUAGE_MODEL": "builtin/example-matcher-1",
            "SIGNET_ALLOWED_PRIVATE_HOSTS": "127.0.0.0/8",  # where the provider of the tests listens
        }
        if self.database:
            chosen["DATABASE_URL"] = f"postgres://postgres@127.0.0.1:{self.database_port}/{self.database}"
        if self.redis_port:
            chosen["REDIS_URL"] = f"redis://127.0.0.1:{self.redis_port}/0"
        return {**chosen, **self.environment}

    def manage(self, *words: str) -> str:
        """What a management command prints."""
        done = subprocess.run(
            [sys.executable, "manage.py", *words], cwd=ROOT, env=self.variables, capture_output=True, text=True,
            timeout=120, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout

    def python(self, code: str) -> str:
        """What a few lines print that run inside of the installation."""
        return self.manage("shell", "--no-imports", "-c", code)

    def migrate(self) -> None:
        """Leave the database as `manage.py migrate` leaves an empty one: a copy of one that was migrated."""
        if self.database:
            copy_database(migrated_database(), self.database)
        else:
            shutil.copytree(migrated_folder(), self.folder, dirs_exist_ok=True)

    def start(self, name: str, *words: str) -> subprocess.Popen[bytes]:
        with (self.folder / f"{name}.log").open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", *words], cwd=ROOT, env=self.variables, stdout=log, stderr=log
            )
        self.processes.append(process)
        return process

    def start_web(self) -> subprocess.Popen[bytes]:
        """The web server; returns when it is ready."""
        process = self.start(
            "web", "uvicorn", "config.asgi:application", "--port", str(self.web_port),
            "--loop", "mlops.runtime.loops:ExecutionEventLoop", "--ws", "config.websockets:WebSocketProtocol",
            "--no-proxy-headers", "--timeout-graceful-shutdown", "5",
        )  # fmt: skip
        self.await_ready(process)
        return process

    def start_worker(self, name: str = "worker") -> subprocess.Popen[bytes]:
        return self.start(
            name, "celery", "-A", "config", "worker", "-Q", "ml_inference", "--pool", "threads", "-c", "2",
            "-n", f"{name}@%h", "--without-gossip", "--without-mingle",
        )  # fmt: skip

    def await_ready(self, process: subprocess.Popen[bytes]) -> None:
        def is_ready() -> bool:
            assert process.poll() is None, self.logs()
            with contextlib.suppress(httpx.TransportError):
                return httpx.get(f"{self.address}/readyz", timeout=5).status_code == 200
            return False

        eventually(is_ready, START_S)

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.web_port}"

    def client(self, username: str, *, role: str = "ml_user", credits: int = 1000) -> httpx.Client:
        """An HTTP client with a new token of `username`."""
        words = ("create_token", username, "--role", role, "--credits", str(credits))
        token = self.manage(*words).split()[-1]
        return httpx.Client(base_url=self.address, headers={"Authorization": f"Bearer {token}"}, timeout=60)

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        """What the database says, asked past the product."""
        connection = psycopg2.connect(f"{SERVER} dbname={self.database}")
        with contextlib.closing(connection), connection.cursor() as cursor:
            cursor.execute(sql)
            return cursor.fetchall()

    def logs(self) -> str:
        return "\n".join(f"--- {log.name}\n{log.read_text()[-3000:]}" for log in sorted(self.folder.glob("*.log")))

    def stop(self) -> None:
        for process in self.processes:
            if process.poll() is None:
                process.send_signal(signal.SIGCONT)
                process.kill()
            process.wait(20)


@contextlib.contextmanager
def postgresql() -> Iterator[Any]:
    """A cursor that makes and drops databases; skips where there is no PostgreSQL."""
    try:
        connection = psycopg2.connect(f"{SERVER} dbname=postgres connect_timeout=3")
    except psycopg2.OperationalError:
        pytest.skip("needs PostgreSQL")
    connection.autocommit = True
    with contextlib.closing(connection), connection.cursor() as cursor:
        yield cursor


@contextlib.contextmanager
def postgresql_database() -> Iterator[str]:
    """A new, empty database; skips where there is no PostgreSQL."""
    name = f"signet_test_{os.getpid()}_{free_port()}"
    with postgresql() as cursor:
        cursor.execute(f"CREATE DATABASE {name}")
        try:
            yield name
        finally:
            cursor.execute(f"DROP DATABASE {name} WITH (FORCE)")


def copy_database(source: str, target: str) -> None:
    """Put a copy of `source` in the place of `target`."""
    with postgresql() as cursor:
        cursor.execute(f"DROP DATABASE {target}")
        cursor.execute(f"CREATE DATABASE {target} TEMPLATE {source}")


# Migrating takes longer than most tests that need an installation: it is done once per process and kind of database,
# and undone when the process ends.
_kept = contextlib.ExitStack()
atexit.register(_kept.close)


@functools.cache
def migrated_folder() -> Path:
    """The data folder of an installation on SQLite that was migrated and is empty."""
    folder = Path(_kept.enter_context(tempfile.TemporaryDirectory(prefix="signet-migrated-")))
    Installation(folder).manage("migrate", "--noinput")
    return folder


@functools.cache
def migrated_database() -> str:
    """The name of a PostgreSQL database that was migrated and is empty."""
    name = _kept.enter_context(postgresql_database())
    folder = _kept.enter_context(tempfile.TemporaryDirectory(prefix="signet-migrated-"))
    Installation(Path(folder), name).manage("migrate", "--noinput")
    return name


@contextlib.contextmanager
def redis_server(folder: Path) -> Iterator[int]:
    """A Redis of its own that tests may flush and stop; skips where there is none."""
    if shutil.which("redis-server") is None:
        pytest.skip("needs Redis")
    port = free_port()
    words = ["--bind", "127.0.0.1", "--port", str(port), "--dir", str(folder), "--save", "", "--loglevel", "warning"]
    process = subprocess.Popen(["redis-server", *words], stdout=subprocess.DEVNULL)
    try:
        yield port
    finally:
        process.terminate()
        process.wait(10)


@contextlib.contextmanager
def production(folder: Path, **environment: str) -> Iterator[Installation]:
    """An installation on PostgreSQL and Redis, migrated, nothing started."""
    with postgresql_database() as database, redis_server(folder) as redis_port:
        here = Installation(folder, database, redis_port=redis_port, environment=environment)
        here.migrate()
        try:
            yield here
        finally:
            here.stop()
