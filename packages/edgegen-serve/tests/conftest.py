"""A tiny model, exported for real, and servers of it."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import openai
import pytest

sys.path.insert(0, str(Path(__file__).parent))  # so that the modules beside this are found however pytest imports it

from live_server import Live, start
from parrot import CACHE, NAME, PLUGIN, SIZE, write_checkpoint

from edgegen.cli import main
from edgegen.testing.plugins import installed, make_distribution


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What ``edgegen export`` makes of it."""
    folder = tmp_path_factory.mktemp("parrot")
    make_distribution(folder, "edgegen-parrot", PLUGIN, files={"parrot_size.py": SIZE})
    (folder / "checkpoint").mkdir()
    write_checkpoint(folder / "checkpoint")
    with installed(folder):
        code = main([
            "export", NAME, "--checkpoint", str(folder / "checkpoint"), "-o", str(folder / "export"), "--quiet",
            "--no-verify", "--scheme", "fp32", "--prefill-lengths", "8,32", "--cache-length", str(CACHE),
        ])  # fmt: skip
    assert not code
    return folder / "export"


@pytest.fixture
def serve(exported: Path) -> Iterator[Callable[..., Live]]:
    """Starts a server of its own for the test; keyword arguments are settings."""
    running: list[Live] = []

    def begin(**settings: Any) -> Live:
        running.append(start(exported, **settings))
        return running[-1]

    yield begin
    for live in running:
        live.stop()


@pytest.fixture(scope="module")
def shared(exported: Path) -> Iterator[Live]:
    live = start(exported, queue=2, max_body=20_000)
    yield live
    live.stop()


@pytest.fixture
def live(shared: Live) -> Iterator[Live]:
    """A server that most tests share; each leaves it idle."""
    yield shared
    shared.puppet.reset()
    shared.wait_for_load(0, 0)


@pytest.fixture(scope="module")
def shared_client(shared: Live) -> Iterator[openai.OpenAI]:
    with shared.client() as client:
        yield client


@pytest.fixture
def client(live: Live, shared_client: openai.OpenAI) -> openai.OpenAI:
    """OpenAI's own client, connected to ``live``."""
    return shared_client


@pytest.fixture
def ask() -> Callable[..., dict[str, Any]]:
    """A request that is right; keyword arguments change it."""

    def body(content: str = "the fox", **fields: Any) -> dict[str, Any]:
        return {"model": NAME, "messages": [{"role": "user", "content": content}], "temperature": 0, **fields}

    return body


@pytest.fixture(scope="session")
def chromium() -> str:
    """Path of the browser."""
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    assert found, "no browser to try the chat page in; apt-get install chromium"
    return found
