"""The examples of README.md and docs/streaming.md run as printed, against a server of their own."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from tests.installation import ROOT, Installation, free_port

README = (ROOT / "README.md").read_text()
STREAMING = (ROOT / "docs" / "streaming.md").read_text()
START_SECONDS = 120


def examples(language: str, text: str = README) -> list[str]:
    """The code blocks of one language, in their order."""
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


@dataclass
class Newcomer:
    """Someone in the project's folder, with the server of `make run` in another terminal."""

    port: int
    environment: dict[str, str]

    def does(self, command: list[str], typed: str = "") -> str:
        """What `command` prints. The port and the Python are those of this installation; all else is as printed."""
        typed = typed.replace(":8000/", f":{self.port}/").replace(".venv/bin/python", sys.executable)
        done = subprocess.run(
            command,
            input=typed,
            cwd=ROOT,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout


@pytest.fixture(scope="module")
def newcomer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Newcomer]:
    folder = tmp_path_factory.mktemp("readme")
    kept = {name: os.environ[name] for name in ("HOME", "LANG") if name in os.environ}
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    someone = Newcomer(free_port(), {**kept, "PATH": path, "SIGNET_DATA_DIR": str(folder / "data")})
    Installation(folder / "data").migrate()
    someone.does([sys.executable, "manage.py", "load_sample"])
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen(
            [sys.executable, "manage.py", "serve", "--port", str(someone.port)],
            cwd=ROOT,
            env=someone.environment,
            stdout=log,
            stderr=log,
        )
    try:
        await_answer(someone, server, folder / "log")
        yield someone
    finally:
        server.send_signal(signal.SIGTERM)
        try:
            server.wait(30)
        finally:
            server.kill()


def await_answer(someone: Newcomer, server: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        assert server.poll() is None, log.read_text()
        try:
            if httpx.get(f"http://127.0.0.1:{someone.port}/readyz", timeout=5).status_code == 200:
                return
        except httpx.TransportError:
            time.sleep(0.2)
    pytest.fail(log.read_text())


@pytest.mark.timeout(300)
def test_the_examples_with_curl_and_with_python_run_as_printed(newcomer: Newcomer) -> None:
    printed = newcomer.does(["sh", "-e"], "\n".join(examples("sh")))
    assert printed.count('"state":"completed"') == 4, printed
    assert '"urgency"' in printed
    assert '"finish_reason":"finished"' in printed
    assert '"file_name":"messages.csv"' in printed
    for example in examples("python"):
        printed = newcomer.does([sys.executable, "manage.py", "shell", "--verbosity", "0"], example)
        assert printed.startswith("completed {'intent'"), printed


@pytest.mark.timeout(300)
def test_answers_come_while_they_come_as_printed(newcomer: Newcomer) -> None:
    printed = newcomer.does(["sh", "-e"], "\n".join(examples("sh", STREAMING)))
    names = re.findall(r"^event: (\w+)$", printed, re.MULTILINE)
    assert (names[0], names[-2:]) == ("step", ["step", "result"])
    assert names.count("piece") > 1
    assert '"state":"completed"' in printed
    (example,) = examples("python", STREAMING)
    printed = newcomer.does([sys.executable, "manage.py", "shell", "--verbosity", "0"], example)
    assert "intent " in printed
    assert printed.endswith("completed\n")
