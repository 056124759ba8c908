"""The plugin: found by edgegen, and cheap to list."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
from gguf_files import Kind, write

from edgegen.weights import open_checkpoint


def test_edgegen_opens_gguf_without_being_told_the_format(tmp_path: Path) -> None:
    file = write(tmp_path / "m.gguf", {"w": (np.ones((2, 2), np.float32), Kind.F32)})
    checkpoint = open_checkpoint(file)
    assert (checkpoint.format, checkpoint.naming) == ("gguf", "gguf")


def test_listing_the_plugin_imports_nothing_heavy() -> None:
    code = (
        "import sys; from edgegen_gguf import plugin; list(plugin.edgegen_checkpoint_formats());"
        "print([name for name in ('gguf', 'numpy', 'tokenizers', 'sentencepiece') if name in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
