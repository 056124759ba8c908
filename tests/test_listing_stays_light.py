"""Listing imports neither torch nor LiteRT nor numpy nor a server, whichever of our packages are installed."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest


@pytest.mark.parametrize("command", ["--help", "list-models"])
def test_no_plugin_makes_listing_slow(command: str) -> None:
    program = (
        "import sys; from edgegen.cli import main; code = main(sys.argv[1:])\n"
        "heavy = {'torch', 'ai_edge_litert', 'numpy', 'starlette', 'uvicorn'} & set(sys.modules)\n"
        "sys.exit(f'imported {heavy}' if heavy else code)"
    )
    out = subprocess.run(
        [sys.executable, "-c", program, command], capture_output=True, text=True, timeout=60, check=False
    )
    assert (out.returncode, out.stderr) == (0, "")


def test_doctor_names_no_plugin_as_heavy() -> None:
    out = subprocess.run(
        [sys.executable, "-m", "edgegen", "doctor", "--json"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert [p["name"] for p in json.loads(out.stdout)["plugins"] if p["heavy"]] == []
