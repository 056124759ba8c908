"""Converting takes little memory however large the model is: 1.1 billion parameters within 1 GB."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

BENCH = Path(__file__).parent.parent / "bench"
MODEL = "tinyllama-1.1b"
ROOM = 4e9
"""Bytes on disk: the checkpoint and what is made of it."""
CEILING = 1.0e9

# Linux counts into a child's peak memory that of its parent, and pytest with torch is no small one.
MEASURE = """
import json, sys
from measuring import run
done = run(sys.argv[1:])
print(json.dumps({"peak_bytes": done.peak_bytes, "stdout": done.stdout}))
"""
LIST_SIGNATURES = """
import json, sys
from edgegen.litert.session import Session
print(json.dumps(list(Session(sys.argv[1]).signatures)))
"""


def python(*arguments: object) -> str:
    command = [sys.executable, *map(str, arguments)]
    path = os.pathsep.join(filter(None, [str(BENCH), os.environ.get("PYTHONPATH")]))
    environment = {**os.environ, "PYTHONPATH": path}
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=environment).stdout


@pytest.fixture
def folder(tmp_path):
    free = shutil.disk_usage(tmp_path).free
    if free < ROOM:
        pytest.skip(f"needs {ROOM / 1e9:.0f} GB on the disk of {tmp_path}, which has {free / 1e9:.1f} GB free")
    yield tmp_path
    shutil.rmtree(tmp_path)  # pytest would keep the last three


def test_export_of_a_billion_parameters_fits_into_a_gigabyte(folder):
    checkpoint, output = folder / "checkpoint", folder / "exported"
    python(BENCH / "shapes.py", MODEL, checkpoint)
    export = ("export", MODEL, "--checkpoint", checkpoint, "-o", output, "--no-verify", "--json", "--quiet")
    measured = json.loads(python("-c", MEASURE, sys.executable, "-m", "edgegen", *export))
    assert measured["peak_bytes"] <= CEILING
    weight_bytes = json.loads(measured["stdout"])["weight_bytes"]
    assert weight_bytes > CEILING  # or the ceiling would prove nothing
    file = output / "model.tflite"
    assert file.stat().st_size == pytest.approx(weight_bytes, rel=0.02)
    assert "decode" in json.loads(python("-c", LIST_SIGNATURES, file))
