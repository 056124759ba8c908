"""Packages that are not installed: the error names the line that installs them."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from edgegen.errors import UsageError
from edgegen_runtime.cli.evaluate import evaluate
from edgegen_runtime.cli.run import run

Export = Callable[..., Path]


@pytest.fixture
def missing(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Hides a package; what has imported it already is forgotten."""

    def hide(package: str) -> None:
        for name in [name for name in sys.modules if name.startswith(("edgegen.export", "edgegen.tracing", package))]:
            monkeypatch.delitem(sys.modules, name)
        monkeypatch.setitem(sys.modules, package, None)

    return hide


@pytest.mark.parametrize(
    ("package", "command", "arguments", "code", "remedy"),
    [
        ("llguidance", run, ("--prompt", "Hi", "--regex", "a"), "EG771", 'pip install "edgegen-runtime[constrained]"'),
        ("llguidance", run, ("--prompt", "Hi", "--grammar", 'start: "a"'), "EG771",
         'pip install "edgegen-runtime[constrained]"'),
        ("matplotlib", evaluate, ("--plot", "plot.png"), "EG127", 'pip install "edgegen-runtime[plot]"'),
        ("torch", evaluate, ("--reference", "checkpoint"), "EG127", 'pip install "edgegen-core[convert]"'),
    ],
)  # fmt: skip
def test_a_missing_package_is_named_with_its_remedy(
    missing: Callable[[str], None],
    export: Export,
    toy_session: type,
    package: str,
    command: Callable[..., object],
    arguments: tuple[str, ...],
    code: str,
    remedy: str,
) -> None:
    folder = export()
    missing(package)
    error = CliRunner().invoke(command, [str(folder), *arguments]).exception  # type: ignore[arg-type]
    assert isinstance(error, UsageError), repr(error)
    assert error.code == code
    assert package in error.message
    assert remedy in (error.hint or "")
