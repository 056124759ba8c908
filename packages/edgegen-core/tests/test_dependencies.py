"""Optional libraries that are missing: whoever needs one is told how to install it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from edgegen.errors import ErrorCode, UsageError
from edgegen.plugins.dependencies import install_line, missing_dependency
from edgegen.testing.plugins import environment, installed, make_distribution

METADATA = """\
Metadata-Version: 2.1
Name: edgegen-acme
Version: 1.0
Requires-Dist: Always-There>=1
Requires-Dist: fancy_library[all]>=2; (python_version > "3") and extra == "fancy"
Requires-Dist: torch; extra == "acme-torch"
Requires-Dist: Pillow>=9; extra == "pictures"
"""


@pytest.fixture
def acme(tmp_path: Path) -> Path:
    make_distribution(tmp_path, "edgegen-acme", "")
    (tmp_path / "edgegen_acme-1.0.dist-info" / "METADATA").write_text(METADATA)
    return tmp_path


@pytest.mark.parametrize(
    ("module", "needed_by", "line"),
    [
        ("torch", None, "pip install 'edgegen-core[convert]'"),
        ("torch", "edgegen-acme", "pip install 'edgegen-acme[acme-torch]'"),
        ("psutil", "edgegen-acme", "pip install 'edgegen-core[convert]'"),
        ("fancy_library", None, "pip install 'edgegen-acme[fancy]'"),
        ("always_there", None, "pip install always-there"),
        ("edgegen_quant", None, "pip install edgegen-quant"),
        ("nobody_declares_this", None, None),
        ("PIL", None, "pip install 'edgegen-acme[pictures]'"),
    ],
)
def test_the_line_comes_from_what_packages_declare(
    module: str, needed_by: str | None, line: str | None, acme: Path
) -> None:
    with installed(acme):
        assert install_line(module, needed_by) == line


def test_a_hidden_module_is_a_missing_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psutil", None)
    with pytest.raises(ModuleNotFoundError) as caught:
        import psutil  # noqa: F401
    error = missing_dependency(caught.value)
    assert error is not None
    assert (error.code, error.hint) == (ErrorCode.DEPENDENCY_MISSING, "pip install 'edgegen-core[convert]'")


@pytest.mark.parametrize("error", [ImportError("x"), ModuleNotFoundError("x", name="edgegen.nowhere"), ValueError()])
def test_a_bug_is_no_missing_library(error: Exception) -> None:
    assert missing_dependency(error) is None


@pytest.mark.parametrize("name", ["convert", "signature", "composite"])
def test_python_is_told_what_to_install(name: str) -> None:
    source = f"""
import sys
sys.modules["torch"] = None
import edgegen
try:
    edgegen.{name}
except edgegen.UsageError as error:
    print(error.code, error.hint)
"""
    run = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, check=True)
    assert run.stdout == "EG127 pip install 'edgegen-core[convert]'\n"


def test_a_command_is_told_what_to_install(tmp_path: Path) -> None:
    source = """
import click
from edgegen import hookimpl
from edgegen.descriptors import Command

@hookimpl
def edgegen_commands():
    yield Command(name="trace", summary="", command="edgegen_acme:trace")

@click.command()
def trace():
    from edgegen.tracing import Signature
"""
    make_distribution(tmp_path, "edgegen-acme", source)
    program = "import sys; sys.modules['torch'] = None; from edgegen.cli import main; sys.exit(main(['trace']))"
    run = subprocess.run(
        [sys.executable, "-c", program], env=environment(tmp_path), capture_output=True, text=True, check=False
    )
    assert run.returncode == UsageError.exit_code
    assert "error[EG127]: this needs the library torch" in run.stderr
    assert "hint: pip install 'edgegen-core[convert]'" in run.stderr
