"""The tutorial's family: its code is run as it stands, on a real checkpoint folder."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from edgegen.testing.plugins import environment, make_distribution

TUTORIAL = (Path(__file__).parent.parent / "docs" / "tutorials" / "first-family.md").read_text()
MODULES = dict(re.findall(r"^`(\w+\.py)`\n\n```python\n(.*?)^```", TUTORIAL, re.DOTALL | re.MULTILINE))
COMMANDS = re.findall(r"^edgegen (.+)$", TUTORIAL, re.MULTILINE)


def test_a_llama_shaped_family_takes_at_most_sixty_lines_including_its_table():
    assert set(MODULES) == {"edgegen_acme.py", "acme_configs.py"}
    assert sum(len(source.splitlines()) for source in MODULES.values()) <= 60


@pytest.mark.parametrize("extra", [[], ["--scheme", "fp32"]])
def test_the_tutorials_commands_run(checkpoint, tmp_path, extra):
    make_distribution(tmp_path / "plugins", "edgegen-acme", MODULES["edgegen_acme.py"], files=MODULES)
    (tmp_path / "acme-100k").symlink_to(checkpoint)
    assert [command.split()[0] for command in COMMANDS] == ["list-models", "export", "run"]
    for command in COMMANDS:
        arguments = re.findall(r'"[^"]*"|\S+', command)
        more = extra if arguments[0] == "export" else ["--max-new-tokens", "4"] if arguments[0] == "run" else []
        out = subprocess.run(
            [sys.executable, "-m", "edgegen", *(argument.strip('"') for argument in arguments), *more],
            cwd=tmp_path, env=environment(tmp_path / "plugins"), capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert out.returncode == 0, out.stderr
        if arguments[0] == "list-models":
            assert "acme-100k" in out.stdout


def test_the_tutorials_test_passes(tmp_path):
    (code,) = re.findall(r"\n\n```python\n(from transformers.*?)^```", TUTORIAL, re.DOTALL | re.MULTILINE)
    names: dict = {}
    exec(compile(code, "tutorial", "exec"), names)
    names["test_parity"](tmp_path)
