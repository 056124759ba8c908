"""``edgegen adapter``: an adapter that peft saved becomes a file that LiteRT-LM takes beside a bundle."""

from __future__ import annotations

from pathlib import Path

import click

from edgegen.cli.output import Output, format_bytes, output_options


@click.command()
@click.argument("adapter_dir", type=click.Path(path_type=Path))
@click.argument("export_dir", type=click.Path(path_type=Path))
@click.option("-o", "--output-file", required=True, type=click.Path(dir_okay=False, path_type=Path), help="To write.")
@output_options
def adapter(adapter_dir: Path, export_dir: Path, output_file: Path, output: Output) -> None:
    """Convert an adapter for LiteRT-LM.

    ADAPTER_DIR is what peft's save_pretrained wrote, EXPORT_DIR an export made with --lora-rank.
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
