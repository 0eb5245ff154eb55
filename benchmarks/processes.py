"""Processes, ports and databases that one benchmark run starts, and takes away again."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import psycopg2

from benchmarks.measure import tree

ROOT = Path(__file__).resolve().parent.parent


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def wait_for_port(port: int, log: Path, limit_s: float = 60.0) -> None:
    """Return when something listens. Raises RuntimeError with the end of the log when nothing does in time."""
    deadline = time.monotonic() + limit_s
    while time.monotonic() < deadline:
        with socket.socket() as probe:
            probe.settimeout(1)
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    raise RuntimeError(f"nothing listens on port {port}:\n{log.read_text()[-3000:]}")


@contextmanager
def running(command: Sequence[str], log: Path, env: Mapping[str, str] | None = None) -> Iterator[int]:
    """A process for as long as the block lasts; yields its id."""
    with log.open("wb") as out:
        process = subprocess.Popen(
            command, cwd=ROOT, env={**os.environ, **(env or {})}, stdout=out, stderr=out, start_new_session=True
        )
    try:
        yield process.pid
    finally:
        _stop(process)


def _stop(process: subprocess.Popen[bytes]) -> None:
    family = tree([process.pid]) if process.poll() is None else []
    process.terminate()
    try:
        process.wait(15)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    for member in family:
        if member.is_running():
            member.kill()


def run_to_end(command: Sequence[str], env: Mapping[str, str] | None = None) -> str:
    """Run a command and return what it printed. Raises RuntimeError with both outputs when it fails."""
    done = subprocess.run(
        command, cwd=ROOT, env={**os.environ, **(env or {})}, capture_output=True, text=True, timeout=300, check=False
    )
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n{done.stdout[-2000:]}\n{done.stderr[-3000:]}")
    return done.stdout


def python(*arguments: str) -> list[str]:
    return [sys.executable, *arguments]


def program(name: str) -> str:
    """A console script of this environment."""
    return str(Path(sys.executable).parent / name)


def pause(pid: int) -> None:
    """Stop a process tree where it stands."""
    for member in tree([pid]):
        member.send_signal(signal.SIGSTOP)


def resume(pid: int) -> None:
    for member in tree([pid]):
        member.send_signal(signal.SIGCONT)


@contextmanager
def database(server: str, name: str) -> Iterator[str]:
    """A fresh PostgreSQL database; yields its URL. `server` is a URL without a database."""
    _administer(server, f"CREATE DATABASE {name}")
    try:
        yield f"{server.rstrip('/')}/{name}"
    finally:
        _administer(server, f"DROP DATABASE {name} WITH (FORCE)")


def _administer(server: str, statement: str) -> None:
    connection = psycopg2.connect(f"{server.rstrip('/')}/postgres")
    connection.autocommit = True
    with connection.cursor() as cursor:
        cursor.execute(statement)
    connection.close()


def port_of(url: str) -> int:
    return urlsplit(url).port or 80
