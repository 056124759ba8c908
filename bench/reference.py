"""The reference's own export of SmolLM2-135M: what it costs, and the file that ``decode.py`` compares with ours.

Backs every figure that names ``litert-torch``. It is installed into an environment of its own under ``build/bench/``,
the GGUF weights are made into the bfloat16 safetensors folder that it reads (not measured), and its command line
exports them with our setting: int8 per channel, signatures ``prefill_8,64,128`` and ``decode``, a cache of 1280. The
export is measured as a whole process. Environment, weights and result are kept and used again; ``--redo`` exports
anew.

A plain install of ``litert-torch`` cannot export: on start it imports TensorFlow, for the schema of ``.tflite`` files
alone, without requiring it. A shim of one line gives it the same schema from ``ai-edge-litert``, which it does require;
that saves it the time and memory of loading TensorFlow, so the comparison favours the reference.

    python bench/reference.py SmolLM2-135M-Instruct.Q4_1.gguf
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import sysconfig
from pathlib import Path
from typing import Any

from measuring import BUILD, ROOT, environment, machine, megabytes, note, report, run

REQUIREMENTS = ("torch==2.13.0", "litert-torch==0.10.0", "transformers==5.23.0", "accelerate", "gguf==0.19.0")
SHIM = "from ai_edge_litert.schema_py_generated import *\n"
RECIPE = "dynamic_wi8_afp32"
"""Symmetric int8 weights, one scale for each output channel, in linear layers and embeddings; dynamic activations."""
OFFLINE = {"HF_HUB_OFFLINE": "1"}


def install() -> Path:
    """The reference's environment, with the shim; its folder with the executables."""
    executables = environment("reference-env", REQUIREMENTS)
    folder = str(executables.parent)
    base = {"base": folder, "platbase": folder}
    module = Path(sysconfig.get_path("purelib", "venv", base)) / "tensorflow" / "lite" / "python"
    module.mkdir(parents=True, exist_ok=True)
    for package in (module, module.parent, module.parent.parent):
        (package / "__init__.py").touch()
    (module / "schema_py_generated.py").write_text(SHIM)
    return executables


def safetensors(executables: Path, checkpoint: Path) -> Path:
    """The weights as the reference reads them."""
    if checkpoint.is_dir():
        return checkpoint
    folder = BUILD / "reference" / "weights"
    if not folder.is_dir():
        note("making a safetensors folder of the weights")
        partial = folder.with_name("weights.partial")
        shutil.rmtree(partial, ignore_errors=True)
        script = Path(__file__).with_name("gguf_to_safetensors.py")
        run([executables / "python", script, checkpoint, partial], environment=OFFLINE)
        partial.rename(folder)
    return folder


def export(executables: Path, weights: Path, result: Path) -> dict[str, Any]:
    """Run the reference; its int8 file becomes ``result``."""
    work = result.with_name("work")
    shutil.rmtree(work, ignore_errors=True)
    state = machine()
    done = run(
        [
            *(executables / "litert-torch", "export_hf", weights, work),
            *("--prefill_lengths", "8,64,128", "--cache_length", "1280", "--quantization_recipe", RECIPE),
            # A .tflite file, and no .litertlm around it.
            *("--bundle_litert_lm", "False"),
        ],
        environment=OFFLINE,
    )
    (written,) = work.rglob("*_quantized.tflite")
    written.replace(result)
    shutil.rmtree(work)
    return {
        **state,
        "seconds": done.seconds,
        "cpu_seconds": done.cpu_seconds,
        "peak_bytes": done.peak_bytes,
        "file_bytes": result.stat().st_size,
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path, help="SmolLM2-135M-Instruct: a GGUF file or a safetensors folder")
    parser.add_argument("--redo", action="store_true", help="export again although the result is there")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    folder = BUILD / "reference"
    folder.mkdir(parents=True, exist_ok=True)
    result = folder / "model.tflite"
    measured = folder / "export.json"
    if arguments.redo or not (result.is_file() and measured.is_file()):
        executables = install()
        weights = safetensors(executables, arguments.checkpoint)
        note("exporting with the reference (some minutes)")
        measured.write_text(json.dumps(export(executables, weights, result)))
    figures = json.loads(measured.read_text())
    document = {
        "benchmark": "reference",
        "requirements": REQUIREMENTS,
        "recipe": RECIPE,
        "file": str(result),
        **figures,
    }
    cells = [f"{figures['seconds']:.1f} s", megabytes(figures["peak_bytes"]), megabytes(figures["file_bytes"])]
    row = [REQUIREMENTS[1], *cells, str(result.relative_to(ROOT))]
    report(document, ["reference", "time", "peak memory", "size", "file"], [row], as_json=arguments.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
