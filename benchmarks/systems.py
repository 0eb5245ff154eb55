"""The systems that are measured: both references and this product, each started as one would run it."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import httpx

from benchmarks.processes import database, free_port, program, python, run_to_end, running, wait_for_port

QUESTION = "What does it cost to change the date of a booked flight?"
WEB_CONCURRENCY = "1024"


@dataclass(frozen=True)
class Surroundings:
    """What every system is given: the provider, the servers, and a folder for logs and files."""

    provider_url: str
    postgres: str
    redis_port: int
    folder: Path

    def database_name(self, system: str) -> str:
        return f"signet_bench_{os.getpid()}_{system}"


@dataclass(frozen=True)
class System:
    """A running system: where it answers, who it is made of, where its executions are recorded."""

    name: str
    url: str
    bearer: str = ""
    web: int = 0
    worker: int = 0
    database_url: str = ""
    table: str = ""
    nested_input: bool = False

    @property
    def pids(self) -> list[int]:
        return [pid for pid in (self.web, self.worker) if pid]

    def body(self, mode: str) -> str:
        """A request for one execution; `mode` is sync or async."""
        asked = {"question": QUESTION}
        return json.dumps({"input": asked, "options": {"mode": mode}} if self.nested_input else asked)


@contextmanager
def redis_server(folder: Path) -> Iterator[int]:
    """A Redis of our own, so that no queue of anybody else is touched; yields its port."""
    port, log = free_port(), folder / "redis.log"
    with running(["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"], log):
        wait_for_port(port, log)
        yield port


@contextmanager
def provider(folder: Path) -> Iterator[str]:
    """The language-model provider in its own process; yields its base URL."""
    port, log = free_port(), folder / "provider.log"
    with running(python("-m", "tests.provider", "--port", str(port)), log):
        wait_for_port(port, log)
        yield f"http://127.0.0.1:{port}/v1"


@contextmanager
def plain(around: Surroundings) -> Iterator[System]:
    """FastAPI with `await program.acall()` in one uvicorn process; it stores nothing."""
    port, log = free_port(), around.folder / "plain.log"
    command = uvicorn_command("benchmarks.plain:app", port)
    with running(command, log, {"PROVIDER_URL": around.provider_url}) as web:
        wait_for_port(port, log)
        yield System("plain", f"http://127.0.0.1:{port}/", web=web)


@contextmanager
def naive(around: Surroundings) -> Iterator[System]:
    """Django, gunicorn with 2 workers, Celery prefork with 16 processes."""
    port, folder = free_port(), around.folder
    with database(around.postgres, around.database_name("naive")) as url:
        parts = urlsplit(url)
        env = {
            "DJANGO_SETTINGS_MODULE": "benchmarks.naive.settings",
            "NAIVE_DATABASE": parts.path.lstrip("/"),
            "NAIVE_DATABASE_USER": parts.username or "",
            "NAIVE_DATABASE_PASSWORD": parts.password or "",
            "NAIVE_DATABASE_HOST": parts.hostname or "",
            "NAIVE_DATABASE_PORT": str(parts.port or 5432),
            "REDIS_URL": f"redis://127.0.0.1:{around.redis_port}/0",
            "PROVIDER_URL": around.provider_url,
        }
        run_to_end(python("-m", "django", "migrate", "--run-syncdb"), env)
        gunicorn = [program("gunicorn"), "benchmarks.naive.wsgi", "--workers", "2", "--bind", f"127.0.0.1:{port}"]
        celery = [program("celery"), "-A", "benchmarks.naive.celery", "worker", "--pool", "prefork", "-c", "16"]
        with (
            running(gunicorn, folder / "naive-web.log", env) as web,
            running([*celery, "--loglevel", "WARNING"], folder / "naive-worker.log", env) as worker,
        ):
            wait_for_port(port, folder / "naive-web.log")
            yield System(
                "naive",
                f"http://127.0.0.1:{port}/",
                web=web,
                worker=worker,
                database_url=url,
                table="naive_execution",
            )


@contextmanager
def ours(around: Surroundings, suffix: str = "", seeding: str = "seed()") -> Iterator[System]:
    """This product as in production: one web process, one inference worker, PostgreSQL and Redis.

    `seeding` is a call of `benchmarks.seed` that makes its rows.
    """
    port, name = free_port(), f"ours{suffix}"
    folder = around.folder / name
    folder.mkdir(exist_ok=True)
    with database(around.postgres, around.database_name(name)) as url:
        env = {
            "DATABASE_URL": url,
            "REDIS_URL": f"redis://127.0.0.1:{around.redis_port}/{2 if suffix else 1}",
            "SIGNET_SECRET_KEY": "a benchmark on loopback, a benchmark on loopback",
            "SIGNET_DATA_DIR": str(folder),
            "SIGNET_LM_BENCH": "stub",
            "SIGNET_ALLOWED_PRIVATE_HOSTS": "127.0.0.0/8",
            "SIGNET_LOG_LEVEL": "WARNING",
            "PROVIDER_URL": around.provider_url,
        }
        run_to_end(python("manage.py", "migrate", "--verbosity", "0"), env)
        token = run_to_end(
            python("manage.py", "create_token", "bench", "--role", "ml_engineer", "--credits", "1000000"), env
        )
        run_to_end(python("manage.py", "shell", "-c", f"from benchmarks.seed import *; {seeding}"), env)
        celery = [program("celery"), "-A", "config", "worker", "-Q", "ml_inference", "--pool", "threads", "-c", "4"]
        with (
            running(
                uvicorn_command("config.asgi:application", port),
                folder / "web.log",
                env | {"SIGNET_CONCURRENCY": WEB_CONCURRENCY},
            ) as web,
            running([*celery, "--loglevel", "WARNING"], folder / "worker.log", env) as worker,
        ):
            wait_for_port(port, folder / "web.log")
            yield System(
                "ours",
                f"http://127.0.0.1:{port}/api/v1/programs/bench/execute/",
                bearer=token.splitlines()[-1].strip(),
                web=web,
                worker=worker,
                database_url=url,
                table="executions_execution",
                nested_input=True,
            )


@contextmanager
def embedded(around: Surroundings) -> Iterator[httpx.Client]:
    """This product as one begins with it: one process, SQLite, the example matcher; yields an engineer's client."""
    port, folder = free_port(), around.folder / "embedded"
    folder.mkdir()
    env = {
        "DATABASE_URL": "",
        "REDIS_URL": "",
        "SIGNET_SECRET_KEY": "a benchmark on loopback, a benchmark on loopback",
        "SIGNET_DATA_DIR": str(folder),
        "SIGNET_LANGUAGE_MODEL": "builtin/example-matcher-1",
        "SIGNET_LOG_LEVEL": "WARNING",
    }
    run_to_end(python("manage.py", "migrate", "--verbosity", "0"), env)
    created = run_to_end(python("manage.py", "create_token", "bench", "--role", "ml_engineer"), env)
    with running(python("manage.py", "serve", "--port", str(port)), folder / "web.log", env):
        wait_for_port(port, folder / "web.log")
        bearer = {"Authorization": f"Bearer {created.split()[-1]}"}
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", headers=bearer, timeout=60) as client:
            yield client


def uvicorn_command(application: str, port: int) -> list[str]:
    is_ours = application == "config.asgi:application"
    loop = "mlops.runtime.loops:ExecutionEventLoop" if is_ours else "uvloop"
    web_sockets = "config.websockets:WebSocketProtocol" if is_ours else "none"
    command = [program("uvicorn"), application, "--port", str(port), "--loop", loop, "--ws", web_sockets]
    return [*command, "--http", "httptools", "--no-access-log", "--log-level", "warning"]
