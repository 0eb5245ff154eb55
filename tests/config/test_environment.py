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
        ("SIGNET_TRUSTED_PROXIES", "10.0.0.0/33"),
        ("SIGNET_TRUSTED_PROXIES", "127.0.0.1,proxy.example.org"),
        ("SIGNET_LOGIN_ATTEMPTS", "0"),
        ("SIGNET_LOGIN_ATTEMPTS", "few"),
        ("SIGNET_LANGUAGE_MODEL", "gpt"),
        ("SIGNET_ALLOWED_PRIVATE_HOSTS", "http://ollama:11434"),
        ("SIGNET_ALLOWED_PRIVATE_HOSTS", "ollama,10.0.0.0/33"),
        ("SIGNET_ALLOWED_PRIVATE_HOSTS", "127.1"),
        ("SIGNET_MODULES", "mine"),
        ("SIGNET_MODULES", "my-own=package.module:Class"),
        ("SIGNET_TOOLS", "mine=package.module"),
        ("SIGNET_METRICS", "mine"),
        ("SIGNET_SMTP_URL", "mail.example.org:587"),
        ("SIGNET_SMTP_URL", "http://mail.example.org"),
        ("SIGNET_SMTP_URL", "smtp://signet:secret@mail.example.org:port"),
        ("SIGNET_SMTP_URL", "smtps://mail.example.org/signet"),
        ("SIGNET_MAIL_FROM", "signet"),
        ("SIGNET_MAIL_FROM", ""),
        ("SIGNET_MAIL_FROM", "Signet <signet@example.org>\nBcc: all@example.org"),
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


@pytest.mark.parametrize(
    ("variables", "allowed"),
    [
        ({}, ["127.0.0.0/8", "::1"]),
        ({"REDIS_URL": "redis://localhost:6379/0"}, []),
        ({"SIGNET_ALLOWED_PRIVATE_HOSTS": ""}, []),
        ({"SIGNET_ALLOWED_PRIVATE_HOSTS": "ollama, 10.0.0.0/8"}, ["ollama", "10.0.0.0/8"]),
        ({"SIGNET_ALLOWED_PRIVATE_HOSTS": "::1", "REDIS_URL": "redis://localhost:6379/0"}, ["::1"]),
    ],
)
def test_this_machine_may_be_called_where_it_is_somebodys_own(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], allowed: list[str]
) -> None:
    for name in ("SIGNET_ALLOWED_PRIVATE_HOSTS", "REDIS_URL"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert read_environment().allowed_private_hosts == allowed


@pytest.mark.parametrize(
    ("url", "server"),
    [
        ("", ("", 25, "", "", False, False)),
        ("smtp://relay", ("relay", 25, "", "", False, False)),
        ("smtp://relay:2525/", ("relay", 2525, "", "", False, False)),
        ("smtp://relay:587", ("relay", 587, "", "", False, True)),
        (
            "smtp://me%40example.org:p%3Aw@mail.example.org",
            ("mail.example.org", 587, "me@example.org", "p:w", False, True),
        ),
        ("smtp://me:pw@mail.example.org:25", ("mail.example.org", 25, "me", "pw", False, True)),
        ("smtps://me:pw@mail.example.org", ("mail.example.org", 465, "me", "pw", True, False)),
    ],
)
def test_a_password_is_never_handed_to_a_mail_server_in_the_clear(
    monkeypatch: pytest.MonkeyPatch, url: str, server: tuple[str, int, str, str, bool, bool]
) -> None:
    monkeypatch.setenv("SIGNET_SMTP_URL", url)
    assert read_environment().mail_server == server


@pytest.mark.parametrize("sender", ["signet@localhost", "Signet <signet@example.org>"])
def test_mails_are_from_an_address_with_or_without_a_name(monkeypatch: pytest.MonkeyPatch, sender: str) -> None:
    monkeypatch.setenv("SIGNET_MAIL_FROM", sender)
    assert read_environment().signet_mail_from == sender


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
