"""The examples of README.md and of docs/{graphql,streaming,openai}.md run as printed, against a server of their own."""

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
from typing import Any

import httpx
import openai
import pytest

from tests.installation import ROOT, Installation, free_port

README = (ROOT / "README.md").read_text()
STREAMING = (ROOT / "docs" / "streaming.md").read_text()
GRAPHQL = (ROOT / "docs" / "graphql.md").read_text()
OPENAI = (ROOT / "docs" / "openai.md").read_text()
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
def test_graphql_is_asked_and_followed_as_printed(newcomer: Newcomer) -> None:
    printed = newcomer.does(["sh", "-e"], "\n".join([*examples("sh", GRAPHQL), 'echo; echo "$TOKEN"']))
    *_replies, token = printed.split()
    assert '"listPrograms"' in printed
    executed = re.search(r'"executeProgram":\{"execution":\{"id":"([0-9a-f-]+)","state":"completed"', printed)
    assert executed, printed
    client = Newcomer(newcomer.port, {**newcomer.environment, "TOKEN": token, "EXECUTION": executed[1]})
    first, last = client.does([sys.executable, "-"], "\n".join(examples("python", GRAPHQL))).splitlines()
    assert first.startswith("next {'data': {'executionUpdates': {'state': 'completed'")
    assert last == "complete None"


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


@pytest.mark.timeout(300)
def test_clients_of_openai_are_served_as_printed(newcomer: Newcomer) -> None:
    """OpenAI's own, LiteLLM and DSPy, each with a whole answer and with a streamed one."""
    printed = newcomer.does(["sh", "-e"], "\n".join([*examples("sh", OPENAI), 'echo; echo "$TOKEN"']))
    *replies, token = printed.split()
    told = " ".join(replies)
    assert '"id":"program:triage"' in told
    assert told.count('"object":"chat.completion"') == 2
    assert told.endswith("data: [DONE]")

    clients = Newcomer(newcomer.port, {**newcomer.environment, "TOKEN": token, "LITELLM_LOCAL_MODEL_COST_MAP": "True"})
    lines = clients.does([sys.executable, "-"], "\n".join(examples("python", OPENAI))).splitlines()
    for client in ("openai", "litellm"):
        (whole,) = (line for line in lines if line.startswith(f"{client}: "))
        assert re.fullmatch(rf'{client}: chatcmpl-[0-9a-f-]{{36}} {{"intent":"\w+","urgency":"\w+"}} \d+', whole)
    assert any(re.fullmatch(r"dspy: \w+ \w+", line) for line in lines)
    streamed = {client: read_from(lines, client) for client in ("openai", "litellm", "dspy")}
    assert streamed["openai"] == streamed["litellm"] != ""
    assert streamed["dspy"].startswith(streamed["openai"])  # after the pieces DSPy gives the prediction

    with openai.OpenAI(base_url=f"http://127.0.0.1:{newcomer.port}/v1", api_key=token, max_retries=0) as own:
        refusals_are_openais_own(own)


def read_from(lines: list[str], client: str) -> str:
    """All that `client` has printed of a stream."""
    begin = f"{client}, streamed: "
    return "".join(line.removeprefix(begin) for line in lines if line.startswith(begin)).replace("None", "")


def refusals_are_openais_own(client: openai.OpenAI) -> None:
    messages: list[Any] = [{"role": "user", "content": "Where is my parcel?"}]
    create = client.chat.completions.create

    with pytest.raises(openai.NotFoundError) as missing:
        create(model="program:nothing", messages=messages)
    assert (missing.value.code, missing.value.param) == ("model_not_found", "model")
    with pytest.raises(openai.BadRequestError) as refused:
        create(model="program:triage", messages=messages, n=2, stream=True)
    assert (refused.value.code, refused.value.param) == ("unsupported_parameter", "n")
    with pytest.raises(openai.AuthenticationError):
        create(model="program:triage", messages=messages, extra_headers={"Authorization": "Bearer nobody's"})
    raw = client.chat.completions.with_raw_response.create(model="program:triage", messages=messages)
    assert raw.parse().id == f"chatcmpl-{raw.headers['x-execution-id']}"
    assert client.models.retrieve("program:triage").id in [model.id for model in client.models.list()]
