"""docker-compose.yml cannot rot: each service's own command and environment run here, against local servers."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import psycopg2
import pytest
import yaml

from config.env import Environment
from executions.services import process, writer
from executions.services.evaluations import streams

ROOT = Path(__file__).resolve().parent.parent
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = [name for name, service in SERVICES.items() if service["image"] == "signet"]
LONG_RUNNING = [name for name in OURS if name != "migrate"]
PROVIDER_KEYS = {"OPENAI_API_KEY", "ANTHROPIC_API_KEY", "GEMINI_API_KEY"}
GIVEN = {"POSTGRES_PASSWORD": "password", "SIGNET_SECRET_KEY": "a-secret-of-the-tests"}
START_SECONDS = 90
STOP_SECONDS = 70


def test_the_services_of_the_design_are_there() -> None:
    assert set(SERVICES) == {"postgres", "redis", "migrate", "web", "worker-inference", "worker-training", "beat"}


@pytest.mark.parametrize("name", LONG_RUNNING)
def test_a_service_waits_for_what_it_needs_and_says_whether_it_is_well(name: str) -> None:
    service = SERVICES[name]
    assert service["depends_on"] == {
        "postgres": {"condition": "service_healthy"},
        "redis": {"condition": "service_healthy"},
        "migrate": {"condition": "service_completed_successfully"},
    }
    assert service["healthcheck"]["test"]
    assert service["volumes"] == ["files:/data"]


@pytest.mark.parametrize("name", ["web", "worker-inference", "worker-training"])
def test_what_is_stopped_has_the_time_to_store_what_it_did(name: str) -> None:
    words = SERVICES[name]["command"]
    option = "--timeout-graceful-shutdown"
    answering = float(words[words.index(option) + 1]) if option in words else 0.0
    needed = answering + streams.DRAIN_S + process.executing.DRAIN_S + writer.PATIENCE_S
    assert needed < float(SERVICES[name]["stop_grace_period"].removesuffix("s")) == STOP_SECONDS


@pytest.mark.parametrize("name", OURS)
def test_only_variables_that_are_read_are_set(name: str) -> None:
    known = {variable.upper() for variable in Environment.model_fields} | PROVIDER_KEYS
    assert set(SERVICES[name]["environment"]) <= known


def test_the_image_runs_the_web_service_as_nobody_special() -> None:
    dockerfile = (ROOT / "Dockerfile").read_text()
    users = re.findall(r"^USER (\S+)$", dockerfile, re.MULTILINE)
    assert users[-1:] == ["signet"]
    for words in (SERVICES["web"]["command"], SERVICES["web"]["healthcheck"]["test"][1:]):
        assert (
            yaml.safe_load("\n".join(re.findall(rf"^\s*CMD (\[\"{words[0]}\".*)$", dockerfile, re.MULTILINE))) == words
        )


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class Machine:
    """This machine in the place of the containers: the words of the file, with its hosts, ports and folders."""

    folder: Path
    database: str
    web_port: int = field(default_factory=free_port)
    redis_port: int = field(default_factory=free_port)

    def here(self, text: str) -> str:
        """`text` as compose would read it, moved to this machine."""
        text = re.sub(r"\$\{(\w+)(?::-([^}]*)|:\?[^}]*)?\}", lambda found: GIVEN.get(found[1], found[2] or ""), text)
        text = text.replace("$$", "$").replace("/data", str(self.folder))
        text = text.replace("redis://redis:6379", f"redis://127.0.0.1:{self.redis_port}")
        if text.startswith("postgres://"):
            return urlsplit(text)._replace(netloc="postgres@127.0.0.1:5432", path=f"/{self.database}").geturl()
        return re.sub(r"\b8000\b", str(self.web_port), text)

    def environment(self, name: str) -> dict[str, str]:
        variables = {key: self.here(str(value)) for key, value in SERVICES[name].get("environment", {}).items()}
        paths = {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "HOME": str(self.folder)}
        return {**variables, **paths, "HOSTNAME": socket.gethostname(), "LANG": "C.UTF-8"}

    def start(self, name: str, *extra: str) -> subprocess.Popen[bytes]:
        command = [self.here(word) for word in SERVICES[name]["command"]] + list(extra)
        with (self.folder / f"{name}.log").open("wb") as log:
            return subprocess.Popen(command, cwd=ROOT, env=self.environment(name), stdout=log, stderr=log)

    def is_healthy(self, name: str) -> bool:
        how, *words = (self.here(word) for word in SERVICES[name]["healthcheck"]["test"])
        command = ["sh", "-c", *words] if how == "CMD-SHELL" else words
        done = subprocess.run(
            command, cwd=ROOT, env=self.environment(name), capture_output=True, timeout=60, check=False
        )
        return done.returncode == 0

    def run(self, *words: str) -> str:
        """Output of a management command in the environment of the web service."""
        command = [sys.executable, "manage.py", *words]
        done = subprocess.run(
            command, cwd=ROOT, env=self.environment("web"), capture_output=True, text=True, timeout=120, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def log(self, name: str) -> str:
        return (self.folder / f"{name}.log").read_text()[-4000:]


def await_health(machine: Machine, name: str, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        assert process.poll() is None, machine.log(name)
        if machine.is_healthy(name):
            return
        time.sleep(0.5)
    pytest.fail(f"{name} did not become healthy:\n{machine.log(name)}")


@pytest.fixture(scope="module")
def database() -> Iterator[str]:
    name = f"signet_compose_{os.getpid()}"
    try:
        connection = psycopg2.connect("host=127.0.0.1 port=5432 user=postgres dbname=postgres connect_timeout=3")
    except psycopg2.OperationalError:
        pytest.skip("needs PostgreSQL")
    connection.autocommit = True
    with contextlib.closing(connection), connection.cursor() as cursor:
        cursor.execute(f"CREATE DATABASE {name}")
        yield name
        cursor.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture(scope="module")
def machine(database: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    if shutil.which("redis-server") is None:
        pytest.skip("needs Redis")
    here = Machine(tmp_path_factory.mktemp("compose"), database)
    redis = here.start("redis", "--bind", "127.0.0.1", "--port", str(here.redis_port), "--dir", str(here.folder))
    try:
        migration = here.start("migrate")
        assert migration.wait(120) == 0, here.log("migrate")
        yield here
    finally:
        redis.terminate()
        redis.wait(10)


@pytest.fixture(scope="module")
def running(machine: Machine) -> Iterator[dict[str, subprocess.Popen[bytes]]]:
    processes = {name: machine.start(name) for name in LONG_RUNNING}
    try:
        yield processes
    finally:
        for process in processes.values():
            process.kill()
            process.wait(10)


@pytest.mark.postgresql
@pytest.mark.redis
@pytest.mark.timeout(300)
class TestRunning:
    """In this order: everything starts, an execution crosses all of it, everything stops."""

    @pytest.mark.parametrize("name", LONG_RUNNING)
    def test_each_service_becomes_healthy(
        self, machine: Machine, running: dict[str, subprocess.Popen[bytes]], name: str
    ) -> None:
        await_health(machine, name, running[name])

    def test_an_execution_is_asked_for_at_web_and_run_by_the_worker(
        self, machine: Machine, running: dict[str, subprocess.Popen[bytes]]
    ) -> None:
        machine.run("load_sample")
        token = machine.run("create_token", "erin", "--role", "ml_engineer").split()[-1]
        address, login = f"http://127.0.0.1:{machine.web_port}/api/v1", {"Authorization": f"Bearer {token}"}
        body = {"input": {"message": "Where is my parcel?"}, "options": {"mode": "async"}}
        asked = httpx.post(f"{address}/programs/triage/execute/", json=body, headers=login, timeout=30)
        assert asked.status_code == 202, asked.text
        row = httpx.get(f"{address}/executions/{asked.json()['id']}/?wait=30", headers=login, timeout=60).json()
        assert row["state"] == "completed", row
        assert row["output"].keys() == {"intent", "urgency"}

    @pytest.mark.parametrize("name", LONG_RUNNING)
    def test_each_service_stops_cleanly_when_asked(
        self, machine: Machine, running: dict[str, subprocess.Popen[bytes]], name: str
    ) -> None:
        running[name].send_signal(signal.SIGTERM)
        # uvicorn shuts down in order and then dies by the signal that it was sent, as a process should.
        allowed = {0, -signal.SIGTERM} if name == "web" else {0}
        assert running[name].wait(STOP_SECONDS) in allowed, machine.log(name)
