"""``edgegen adapter``: conversion of a LoRA adapter that peft saved to a file for LiteRT-LM."""

from __future__ import annotations

from pathlib import Path

import click

from edgegen.cli.options import GroupedCommand, option
from edgegen.cli.output import Output, format_bytes, output_options

EXAMPLES = (("edgegen adapter my-adapter smollm2-bundle -o my-adapter.tflite", "Convert an adapter for a bundle"),)


@click.command(cls=GroupedCommand, examples=EXAMPLES)
@click.argument("adapter_dir", type=click.Path(path_type=Path))
@click.argument("export_dir", type=click.Path(path_type=Path))
@option(
    "-o", "--output-file", required=True, type=click.Path(dir_okay=False, path_type=Path), group="Conversion",
    help="LiteRT-LM adapter file (.tflite) to write.",
)  # fmt: skip
@output_options
def adapter(adapter_dir: Path, export_dir: Path, output_file: Path, output: Output) -> None:
    """Convert a LoRA adapter for LiteRT-LM.

    ADAPTER_DIR is a folder that peft's save_pretrained wrote, EXPORT_DIR an export made with --lora-rank.
    """
    from edgegen.adapters.layout import LoraLayout
    from edgegen.adapters.peft import SavedAdapter
    from edgegen_bundles.litertlm.adapter import write_adapter

    layout = LoraLayout.open(export_dir)
    factors = layout.factors(SavedAdapter.open(adapter_dir))
    write_adapter(output_file, layout.rank, factors)
    size = output_file.stat().st_size
    document = {"output": output_file, "rank": layout.rank, "tensors": len(factors), "bytes": size}
    output.result(document, f"wrote {output_file} ({len(factors)} factors of rank {layout.rank}, {format_bytes(size)})")
