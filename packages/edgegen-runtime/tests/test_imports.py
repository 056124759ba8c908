from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import edgegen_runtime

HOME = Path(edgegen_runtime.__file__).parent
MODULES = [".".join(path.relative_to(HOME).with_suffix("").parts) for path in sorted(HOME.rglob("*.py"))]


def python(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_everything_works_without_torch() -> None:
    python(f"""
import importlib, sys

class NoTorch:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("torch", "transformers"):
            raise ImportError(f"{{name}} must not be imported")

sys.meta_path.insert(0, NoTorch())
for name in {MODULES}:
    importlib.import_module("edgegen_runtime." + name.removesuffix(".__init__"))
import edgegen_runtime
for name in edgegen_runtime.__all__:
    getattr(edgegen_runtime, name)
assert "torch" not in sys.modules
""")


def test_the_package_and_its_plugin_are_light() -> None:
    heavy = ["numpy", "tokenizers", "sentencepiece", "jinja2", "ai_edge_litert", "click", "rich"]
    found = python(
        f"import sys, edgegen_runtime, edgegen_runtime.plugin\n"
        f"list(edgegen_runtime.plugin.edgegen_commands())\n"
        f"print([name for name in {heavy} if name in sys.modules])"
    )
    assert found.strip() == "[]"


def test_help_needs_neither_numpy_nor_litert() -> None:
    found = python(
        "import sys, edgegen_runtime.cli.run\n"
        "print([name for name in ('numpy', 'jinja2', 'ai_edge_litert', 'rich') if name in sys.modules])"
    )
    assert found.strip() == "[]"


def test_commands_name_what_exists() -> None:
    from importlib import import_module

    import click

    from edgegen_runtime.plugin import edgegen_commands

    for command in edgegen_commands():
        module, _, attribute = command.command.partition(":")
        assert isinstance(getattr(import_module(module), attribute), click.Command)
