"""A wrong setting stops the start with the variable's name and the form that is expected, and with no traceback."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from config.env import BrokenEnvironment, read_environment
from tests.installation import ROOT, free_port

START_S = 60


def refusal(folder: Path, *words: str, **variables: str) -> str:
    """What a management command complains of; it has to fail."""
    environment = {"PATH": os.environ["PATH"], "HOME": str(folder), "SIGNET_DATA_DIR": str(folder / "data")}
    done = subprocess.run(
        [sys.executable, "manage.py", *words], cwd=ROOT, env={**environment, **variables}, capture_output=True,
        text=True, timeout=START_S, check=False,
    )  # fmt: skip
    assert done.returncode != 0, done.stdout
    assert "Traceback" not in done.stderr
    return done.stderr.strip()


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("DATABASE_URL", "mysql://root@localhost/signet"),
        ("DATABASE_URL", "postgres://127.0.0.1"),
        ("DATABASE_URL", "postgres://signet@127.0.0.1:port/signet"),
        ("REDIS_URL", "localhost:6379"),
        ("REDIS_URL", "redis://localhost:port/0"),
        ("SIGNET_CONCURRENCY", "x"),
        ("SIGNET_CONCURRENCY", "0"),
        ("SIGNET_LEASE_SECONDS", "soon"),
        ("SIGNET_LEASE_SECONDS", "nan"),
        ("SIGNET_LEASE_SECONDS", "0.5"),
        ("SIGNET_DEADLINE_SECONDS", "inf"),
        ("SIGNET_DEADLINE_SECONDS", "0"),
        ("SIGNET_MAX_BODY_BYTES", "1MB"),
        ("SIGNET_CREDITS_PER_USD", "-1"),
        ("SIGNET_DEBUG", "maybe"),
        ("SIGNET_ALLOWED_HOSTS", "https://signet.example.org"),
        ("SIGNET_ALLOWED_HOSTS", "signet.example.org, 127.0.0.1:8000"),
        ("SIGNET_TIME_ZONE", "Mars/Olympus"),
        ("SIGNET_LOG_LEVEL", "loud"),
        ("SIGNET_TRUSTED_ORIGINS", "https://signet.example.org,signet.example.org"),
        ("SIGNET_LANGUAGE_MODEL", "gpt"),
        ("SIGNET_MODULES", "mine"),
        ("SIGNET_MODULES", "my-own=package.module:Class"),
        ("SIGNET_TOOLS", "mine=package.module"),
        ("SIGNET_DATA_DIR", "/proc/signet"),
    ],
)
def test_a_broken_variable_is_named_with_the_form_that_is_expected(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(BrokenEnvironment) as stop:
        read_environment()
    complaint = str(stop.value)
    assert complaint.startswith(f"{variable}: expected ")
    assert len(complaint.splitlines()) == 1


def test_hosts_may_be_given_in_every_form_that_is_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    hosts = ["*", ".example.org", "signet.example.org", "web_1", "10.0.0.7", "[::1]"]
    monkeypatch.setenv("SIGNET_ALLOWED_HOSTS", ",".join(hosts))
    assert read_environment().signet_allowed_hosts == hosts


def test_a_file_where_the_data_folder_should_be_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("SIGNET_DATA_DIR", str(tmp_path / "file"))
    with pytest.raises(BrokenEnvironment, match=r"^SIGNET_DATA_DIR: expected "):
        read_environment()


def test_the_start_ends_with_every_broken_variable_and_without_its_value(tmp_path: Path) -> None:
    complaint = refusal(tmp_path, "check", SIGNET_CONCURRENCY="x", DATABASE_URL="mysql://root:hunter2@localhost/signet")
    assert {line.partition(": expected ")[0] for line in complaint.splitlines()} == {
        "SIGNET_CONCURRENCY",
        "DATABASE_URL",
    }
    assert "hunter2" not in complaint


def test_a_database_that_does_not_answer_is_named_without_a_password(tmp_path: Path) -> None:
    url = f"postgres://signet:hunter2@127.0.0.1:{free_port()}/signet"
    complaint = refusal(tmp_path, "migrate", DATABASE_URL=url)
    assert complaint.startswith("DATABASE_URL: no connection")
    assert "hunter2" not in complaint


def test_a_broker_that_does_not_answer_is_named_before_anything_is_done(tmp_path: Path) -> None:
    complaint = refusal(tmp_path, "serve", REDIS_URL=f"redis://127.0.0.1:{free_port()}/0")
    assert complaint.startswith("CommandError: REDIS_URL: ")


def test_a_port_that_is_taken_is_named_before_anything_is_done(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        assert refusal(tmp_path, "serve", "--port", str(port)).startswith(f"CommandError: PORT: 127.0.0.1:{port} ")


def test_a_port_that_is_none_is_named(tmp_path: Path) -> None:
    assert "PORT: expected the number of a port" in refusal(tmp_path, "serve", "--port", "65536")
