"""An export that is killed leaves nothing that loads, and the next one cleans up after it."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

from edgegen.errors import UsageError, VerificationError
from edgegen.export import runner
from edgegen.export.output_folder import work_folder
from edgegen.litert.session import Session
from edgegen.testing.plugins import environment

# Each kills the process with the signal that nothing can catch, at a moment of its own.
MOMENTS = {
    "the first weights": "patch(os, 'pwrite', 1)",
    "later weights": "patch(os, 'pwrite', 6)",
    "while verifying": "patch(runner, 'open_session', 1)",
    "while packaging": "patch(folder, 'provenance', 1)",
    "before it gets its name": "patch(runner, 'put_in_place', 1)",
}
SCRIPT = """
import os, pathlib, signal, sys
from edgegen.cli import main
from edgegen.export import folder, runner, verify

def patch(place, name, when):
    honest, calls = getattr(place, name), []
    def deadly(*args, **options):
        calls.append(args)
        if len(calls) >= when:
            os.kill(os.getpid(), signal.SIGKILL)
        return honest(*args, **options)
    setattr(place, name, deadly)

{moment}
main(sys.argv[1:])
"""


def arguments(checkpoint, output):
    return [
        "export", "tiny-100k", "--checkpoint", str(checkpoint), "-o", str(output), "--prefill-lengths", "4",
        "--cache-length", "48", "--scheme", "fp32",
    ]  # fmt: skip


def killed(moment, checkpoint, output, tiny_family):
    command = [sys.executable, "-c", SCRIPT.format(moment=moment), *arguments(checkpoint, output)]
    process = subprocess.run(command, env=environment(tiny_family), capture_output=True, text=True, check=False)
    assert process.returncode == -signal.SIGKILL, process.stderr


@pytest.mark.parametrize("moment", MOMENTS)
def test_nothing_that_loads_is_left_and_the_next_run_cleans_up(moment, edgegen, checkpoint, tiny_family, tmp_path):
    output = tmp_path / "out"
    killed(MOMENTS[moment], checkpoint, output, tiny_family)
    assert not output.exists()
    if "weights" in moment:
        half = list(tmp_path.rglob("*.tflite*"))
        assert half
        for file in half:
            with pytest.raises(UsageError):
                Session(file)
    result = edgegen(*arguments(checkpoint, output))
    assert result.code == 0, result.err
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert edgegen("run", output, "--prompt", "the", "--max-new-tokens", 1).code == 0


def test_an_earlier_export_survives(edgegen, checkpoint, tiny_family, tmp_path, monkeypatch):
    output = tmp_path / "out"
    assert edgegen(*arguments(checkpoint, output)).code == 0
    before = (output / "model.tflite").read_bytes()
    # Killed between its two renames (the first of all names the model): the earlier export has gone aside, the new one
    # has no name yet.
    killed("patch(os, 'replace', 3)", checkpoint, output, tiny_family)
    assert not output.exists()
    monkeypatch.setattr(runner, "open_session", lambda *arguments: (_ for _ in ()).throw(VerificationError("no")))
    assert edgegen(*arguments(checkpoint, output)).code == 5
    assert (output / "model.tflite").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_two_exports_to_one_folder_do_not_meet(edgegen, checkpoint, tmp_path):
    with work_folder(tmp_path / "out") as other:
        result = edgegen(*arguments(checkpoint, tmp_path / "out"))
        assert result.code == 6
        assert "error[EG603]" in result.err
        assert other.is_dir()
    assert list(tmp_path.iterdir()) == []


def test_what_is_not_ours_stays_beside_the_export(edgegen, checkpoint, tmp_path):
    for name in (".out.partial", ".out.previous", ".out.mine.partial", ".out.mine.previous"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "notes.txt").write_text("mine")
    assert edgegen(*arguments(checkpoint, tmp_path / "out")).code == 0
    assert len(list(tmp_path.rglob("notes.txt"))) == 4
