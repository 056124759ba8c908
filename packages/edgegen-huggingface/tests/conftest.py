"""A stand-in for the hub, and an environment that knows no other."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # so that `hub_server` is found whichever way pytest imports this

from hub_server import HubServer, point_at


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    """Folder of the hub's cache; nobody has made it yet."""
    return tmp_path / "home" / "hub"


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, cache: Path) -> Iterator[HubServer]:
    """The stand-in, named by the environment as users name theirs; the working folder is empty."""
    with HubServer() as server:
        point_at(server, cache.parent, monkeypatch)
        work = tmp_path / "work"
        work.mkdir()
        monkeypatch.chdir(work)
        yield server
