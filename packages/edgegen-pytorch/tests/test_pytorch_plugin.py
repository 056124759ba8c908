"""The plugin: found by edgegen, cheap to list, and without torch."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import torch
from pytorch_files import save

from edgegen.weights import open_checkpoint


def test_edgegen_opens_pytorch_without_being_told_the_format(tmp_path: Path) -> None:
    checkpoint = open_checkpoint(save(tmp_path / "m.bin", {"w": torch.ones(2, 2)}))
    assert (checkpoint.format, checkpoint.naming) == ("pytorch", "huggingface")


def run(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


def test_listing_the_plugin_imports_nothing_heavy() -> None:
    code = (
        "import sys; from edgegen_pytorch import plugin; list(plugin.edgegen_checkpoint_formats());"
        "print([name for name in ('torch', 'numpy', 'sentencepiece') if name in sys.modules])"
    )
    assert run(code) == "[]"


def test_opening_and_reading_import_no_torch(tmp_path: Path) -> None:
    file = save(tmp_path / "m.bin", {"w": torch.ones(2, 2)})
    code = (
        "import sys; from edgegen.weights import open_checkpoint;"
        f"open_checkpoint({str(file)!r}).tensors['w'].read(); print('torch' in sys.modules)"
    )
    assert run(code) == "False"
