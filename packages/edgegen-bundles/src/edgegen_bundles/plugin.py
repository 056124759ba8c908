"""Plugin of edgegen: export targets and commands. Imports nothing heavy: listing plugins stays fast."""

from __future__ import annotations

from edgegen.descriptors import Command, ExportTarget
from edgegen.hookspecs import hookimpl


@hookimpl
def edgegen_export_targets() -> list[ExportTarget]:
    return [
        ExportTarget(
            name="litertlm",
            summary="one .litertlm file for LiteRT-LM, export record and model card in a folder",
            check="edgegen_bundles.litertlm.target:check",
            files="edgegen_bundles.litertlm.target:files",
            package="edgegen_bundles.litertlm.target:package",
            contents={".litertlm": "edgegen_bundles.litertlm.inspect:contents"},
        ),
        ExportTarget(
            name="task",
            summary="one .task file for MediaPipe's LLM Inference API, export record and model card in a folder",
            check="edgegen_bundles.mediapipe.target:check",
            files="edgegen_bundles.mediapipe.target:files",
            package="edgegen_bundles.mediapipe.target:package",
            contents={".task": "edgegen_bundles.mediapipe.task_reader:contents"},
        ),
    ]


@hookimpl
def edgegen_commands() -> list[Command]:
    return [
        Command(
            name="adapter",
            summary="Convert a LoRA adapter for LiteRT-LM",
            command="edgegen_bundles.cli.adapter:adapter",
        ),
        Command(
            name="tokenizer",
            summary="Convert a tokenizer to SentencePiece, and compare the two",
            command="edgegen_bundles.cli.tokenizer:tokenizer",
        ),
    ]
