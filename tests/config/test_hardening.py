"""What the settings say in the two ways to run: on this machine alone, and behind a proxy with TLS."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from config.env import read_environment
from tests.installation import ROOT, Installation

BEHIND_TLS = {
    "DATABASE_URL": "postgres://signet@127.0.0.1:5432/signet",
    "REDIS_URL": "redis://127.0.0.1:6379/0",
    "SIGNET_SECRET_KEY": "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ",
    "SIGNET_ALLOWED_HOSTS": "signet.example.org",
    "SIGNET_TRUSTED_ORIGINS": "https://signet.example.org",
    "SIGNET_TRUSTED_PROXIES": "10.0.0.0/8",
}

SERVED = """
import json
from django.test import Client
client = Client(REMOTE_ADDR="10.0.0.1", HTTP_HOST="signet.example.org")
def answer(path, **headers):
    got = client.get(path, **headers)
    return [got.status_code, dict(got.headers), [cookie.OutputString() for cookie in got.cookies.values()]]
print(json.dumps([
    answer("/admin/login/", HTTP_X_FORWARDED_PROTO="https"),
    answer("/admin/login/"),
    answer("/healthz"),
]))
"""


def manage(folder: Path, *words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": os.environ["PATH"], "HOME": str(folder), "SIGNET_DATA_DIR": str(folder), **variables}
    return subprocess.run(
        [sys.executable, "manage.py", *words], cwd=ROOT, env=environment, capture_output=True, text=True,
        timeout=100, check=False,
    )  # fmt: skip


def test_djangos_deployment_checks_find_nothing_in_production(tmp_path: Path) -> None:
    done = manage(tmp_path, "check", "--deploy", "--fail-level", "WARNING", **BEHIND_TLS)
    assert done.returncode == 0, done.stderr
    assert "no issues (1 silenced)" in done.stdout


def test_an_https_installation_whose_proxy_is_not_named_is_warned(tmp_path: Path) -> None:
    """It is not redirected, since it would be so for ever."""
    done = manage(
        tmp_path, "check", "--deploy", "--fail-level", "WARNING", **{**BEHIND_TLS, "SIGNET_TRUSTED_PROXIES": ""}
    )
    assert done.returncode == 1
    assert "security.W008" in done.stderr


def test_the_embedded_installation_has_no_error(tmp_path: Path) -> None:
    done = manage(tmp_path, "check", "--deploy", "--fail-level", "ERROR")
    assert done.returncode == 0, done.stderr
    assert manage(tmp_path, "check", "--fail-level", "WARNING").returncode == 0


def test_behind_tls_cookies_and_pages_keep_to_https(tmp_path: Path) -> None:
    embedded_but_tls = {name: value for name, value in BEHIND_TLS.items() if not name.endswith("_URL")}
    Installation(tmp_path).migrate()
    done = manage(tmp_path, "shell", "--no-imports", "-c", SERVED, **embedded_but_tls)
    secure, plain, probe = json.loads(done.stdout)

    status, headers, cookies = secure
    assert status == 200
    assert headers["Strict-Transport-Security"] == "max-age=31536000; includeSubDomains"
    assert [cookie.partition("=")[0] for cookie in cookies] == ["__Host-csrftoken"]
    assert all({"Secure", "HttpOnly", "SameSite=Lax", "Path=/"} <= set(cookie.split("; ")) for cookie in cookies)
    assert (plain[0], plain[1]["Location"]) == (301, "https://signet.example.org/admin/login/")
    assert "default-src 'none'" in plain[1]["Content-Security-Policy"]
    assert probe[0] == 200  # asked by machines of the same network


@pytest.mark.parametrize(
    ("origins", "is_https"),
    [
        ("", False),
        ("https://signet.example.org", True),
        ("https://a.example.org,https://b.example.org", True),
        ("https://signet.example.org,http://localhost:8000", False),
        ("http://localhost:8000", False),
    ],
)
def test_https_follows_from_the_origins(monkeypatch: pytest.MonkeyPatch, origins: str, is_https: bool) -> None:
    monkeypatch.setenv("SIGNET_TRUSTED_ORIGINS", origins)
    assert read_environment().is_served_by_https is is_https


def test_no_process_believes_a_proxy_that_is_not_named() -> None:
    """Uvicorn believes the loopback address unless it is told not to; the one switch is SIGNET_TRUSTED_PROXIES."""
    commands: dict[str, Any] = {name: (ROOT / name).read_text() for name in ("Dockerfile", "docker-compose.yml")}
    for name, text in commands.items():
        lines = [line for line in text.splitlines() if '"uvicorn"' in line]
        assert lines, name
        assert all('"--no-proxy-headers"' in line for line in lines), name
    assert "proxy_headers=False" in (ROOT / "config/management/commands/serve.py").read_text()
