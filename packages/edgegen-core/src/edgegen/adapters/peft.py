"""Low-rank adapters, trained elsewhere and merged into a checkpoint as its rows are read.

An adapter adds ``scale * B @ A`` to a matrix ``W`` of ``[out, in]``, with ``A`` of ``[r, in]`` and ``B`` of
``[out, r]``. The sum of a few rows needs those rows of ``B`` and all of ``A``, so merging streams like everything else.

Format: what the library peft saves, ``adapter_config.json`` beside ``adapter_model.safetensors``. Papers: Hu et al.,
2021 (https://arxiv.org/abs/2106.09685); rank-stabilized scales, Kalajdzievski, 2023 (https://arxiv.org/abs/2312.03732);
weight-decomposed adapters, Liu et al., 2024 (https://arxiv.org/abs/2402.09353).
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgegen.errors import CheckpointError, ErrorCode, UnsupportedError, UsageError
from edgegen.weights import open_checkpoint
from edgegen.weights.files import read_json_object, summarize
from edgegen.weights.tensors import Checkpoint, LazyTensor

CONFIG, WEIGHTS = "adapter_config.json", ("adapter_model.safetensors", "adapter_model.bin")
"""Files of an adapter; peft writes one of the latter."""

NAMING = "huggingface"
"""How the models that peft trains on name their weights."""

_PREFIX = "base_model.model."

_PARTS = re.compile(
    r"(?P<module>.+)\.(?P<part>lora_A|lora_B|lora_embedding_A|lora_embedding_B|lora_magnitude_vector)(\.weight)?"
)

Float32 = npt.NDArray[np.float32]


def weights_file(folder: Path) -> Path:
    """The file in an adapter's folder that has its matrices; the usual one where there is none."""
    return next((folder / name for name in WEIGHTS if (folder / name).is_file()), folder / WEIGHTS[0])


@dataclass(frozen=True)
class Adapter:
    """The low-rank update of one matrix.

    Attributes:
        scale: factor of the product.
        down: ``A``, ``[r, in]``.
        up: ``B``, ``[out, r]``.
        magnitudes: ``[out]``, the length that each row is brought to; None to leave them.
    """

    scale: float
    down: Float32
    up: Float32
    magnitudes: Float32 | None

    def merged(self, tensor: LazyTensor) -> LazyTensor:
        """The matrix with the adapter in it, still lazy.

        Raises:
            CheckpointError: their shapes do not fit.
        """
        expected = (self.up.shape[0], self.down.shape[1])
        if tensor.shape != expected:
            raise CheckpointError(
                f"the adapter changes {tensor.name} as {list(expected)}, but that is {list(tensor.shape)}",
                code=ErrorCode.ADAPTER_MISMATCH,
                hint="the adapter was trained on another model or size",
            )

        def read_rows(start: int, stop: int) -> Float32:
            rows: Float32 = tensor.read_rows(start, stop) + np.float32(self.scale) * (self.up[start:stop] @ self.down)
            if self.magnitudes is not None:
                rows *= (self.magnitudes[start:stop] / np.linalg.norm(rows, axis=1))[:, None]
            return rows

        # Changed numbers are no longer those that the checkpoint keeps packed.
        return replace(tensor, read_rows=read_rows, packed=None, computed=True)


@dataclass(frozen=True)
class SavedAdapter:
    """An adapter in a folder that peft wrote.

    Attributes:
        folder: where it was read from.
        settings: ``adapter_config.json``.
        weights: the file with its matrices.
        adapters: name of a weight (``model.layers.0.self_attn.q_proj.weight``) -> what is added to it.
        replaced: name -> a weight that was trained whole.
    """

    folder: Path
    settings: Mapping[str, Any]
    weights: Path
    adapters: Mapping[str, Adapter]
    replaced: Mapping[str, LazyTensor]

    @classmethod
    def open(cls, folder: Path) -> SavedAdapter:
        """Read it.

        Raises:
            UsageError: there is no adapter in the folder.
            CheckpointError: it is damaged.
            UnsupportedError: it is of a kind that is no sum of a weight and a product.
        """
        weights = weights_file(folder)
        if not (folder / CONFIG).is_file() or not weights.is_file():
            raise UsageError(
                f"{folder} is no adapter: it lacks {CONFIG} or {WEIGHTS[0]}",
                code=ErrorCode.NOT_AN_ADAPTER,
                hint="name the folder that peft's save_pretrained made",
            )
        settings = read_json_object(folder / CONFIG)
        _check_kind(settings)
        return cls(folder, settings, weights, *_read(open_checkpoint(weights).tensors, settings))


def with_adapter(checkpoint: Checkpoint, folder: Path) -> Checkpoint:
    """The checkpoint with an adapter merged into it.

    Args:
        checkpoint: the model that the adapter was trained on, with Hugging Face's names.
        folder: with ``adapter_config.json`` and ``adapter_model.safetensors``.

    Raises:
        UsageError: there is no adapter in the folder, or the checkpoint has other names.
        CheckpointError: the adapter is damaged, or was trained on something else.
        UnsupportedError: it is of a kind that cannot be merged.
    """
    saved = SavedAdapter.open(folder)
    adapters, replaced = saved.adapters, saved.replaced
    if checkpoint.naming != NAMING:
        raise UsageError(
            f"the adapter names weights as Hugging Face does, and {checkpoint.path.name} as {checkpoint.naming} does",
            code=ErrorCode.ADAPTER_NAMING,
            hint="use the model's safetensors",
        )
    lost = list(dict.fromkeys(name for name in (*adapters, *replaced) if name not in checkpoint.tensors))
    if "lm_head.weight" in lost and any(name.endswith("embed_tokens.weight") for name in checkpoint.tensors):
        raise _half_of_a_tied_table("lm_head.weight", "table of tokens")
    if lost:
        raise CheckpointError(
            f"the adapter changes {len(lost)} weights that {checkpoint.path.name} does not have",
            code=ErrorCode.ADAPTER_MISMATCH,
            details=summarize(lost),
            hint="the adapter was trained on another model; adapter_config.json says which",
        )
    _check_vocabulary(checkpoint, replaced)
    _check_tied(checkpoint, {*adapters, *replaced}, saved.settings)
    merged = {name: adapter.merged(checkpoint.tensors[name]) for name, adapter in adapters.items()}
    files = (*checkpoint.files, folder / CONFIG, saved.weights)
    return replace(checkpoint, tensors={**checkpoint.tensors, **replaced, **merged}, files=files)


_READ = ("alpha_pattern", "ensure_weight_tying", "lora_alpha", "modules_to_save", "peft_type", "r", "rank_pattern",
         "use_dora", "use_rslora")  # fmt: skip
_NO_EFFECT = ("auto_mapping", "base_model_name_or_path", "bias", "corda_config", "eva_config", "exclude_modules",
              "inference_mode", "layers_pattern", "layers_to_transform", "loftq_config", "lora_dropout",
              "lora_ga_config", "megatron_config", "megatron_core", "peft_version", "qalora_group_size", "revision",
              "runtime_config", "target_modules", "task_type", "unsloth_*")  # fmt: skip
"""Settings that say how an adapter was trained, or which modules it has, which its weights say too."""

_INITIALIZATIONS = (True, False, None, "gaussian", "eva", "orthogonal")
"""Values of ``init_lora_weights`` that leave the model's own weights as they are; others subtract something first."""

_REASONS = {
    "alora_invocation_tokens": "it works on the text after certain tokens only",
    "lora_bias": "it adds biases, which the model's projections do not have",
    "layer_replication": "it repeats layers of the model",
    "trainable_token_indices": "it changes single rows of the embedding table",
    "target_parameters": "it changes parameters that are no layer's weight",
    "fan_in_fan_out": "its matrices are transposed",
}


def _check_kind(settings: Mapping[str, Any]) -> None:
    """Refuse an adapter that is something else than the module's docstring says, by any of its settings.

    Raises:
        UnsupportedError: it is; the setting is named.
    """
    kind, start = settings.get("peft_type"), settings.get("init_lora_weights")
    if kind != "LORA":
        problem = f"is of type {kind}"
    elif start not in _INITIALIZATIONS:
        problem = f"began as {start!r}, for which peft changes the model's own weights first"
    elif settings.get("bias") not in (None, "none"):
        problem = f"trains biases (bias {settings['bias']!r})"
    elif other := next(
        (
            key
            for key, value in settings.items()
            if value and key not in (*_READ, "init_lora_weights") and not any(fnmatch(key, own) for own in _NO_EFFECT)
        ),
        None,
    ):
        problem = f"has {other} {settings[other]!r}: {_REASONS.get(other, 'a setting that is not known here')}"
    else:
        return
    raise UnsupportedError(
        f"the adapter {problem}, which cannot be merged here",
        code=ErrorCode.ADAPTER_NOT_MERGEABLE,
        hint="merge it with peft's merge_and_unload() and export the result",
    )


def _check_vocabulary(checkpoint: Checkpoint, replaced: Mapping[str, LazyTensor]) -> None:
    for name, tensor in replaced.items():
        shape = checkpoint.tensors[name].shape
        if tensor.shape[1:] == shape[1:] and tensor.rows > shape[0]:
            raise UnsupportedError(
                f"the adapter was trained with a vocabulary of {tensor.rows} tokens, and the model has {shape[0]}",
                code=ErrorCode.ADAPTER_NOT_MERGEABLE,
                hint="merge it with peft, into the model with as many: resize_token_embeddings, merge_and_unload()",
            )
        if tensor.shape != shape:
            raise CheckpointError(
                f"the adapter has {name} as {list(tensor.shape)}, but the model as {list(shape)}",
                code=ErrorCode.ADAPTER_MISMATCH,
                hint="the adapter was trained on another model or size",
            )


def _check_tied(checkpoint: Checkpoint, changed: set[str], settings: Mapping[str, Any]) -> None:
    """One table for lookup and head cannot change in one place only, which is what such an adapter was trained for."""
    tables = [name for name in changed if name.endswith("embed_tokens.weight")]
    if tables and "lm_head.weight" not in checkpoint.tensors and not settings.get("ensure_weight_tying"):
        raise _half_of_a_tied_table(tables[0], "head")


def _half_of_a_tied_table(changed: str, other: str) -> UnsupportedError:
    return UnsupportedError(
        f"the adapter changes {changed}, which is the model's {other} as well, in one of its two places",
        code=ErrorCode.ADAPTER_NOT_MERGEABLE,
        hint="merge it with peft's merge_and_unload(), which gives the head weights of its own",
    )


def _read(
    saved: Mapping[str, LazyTensor], settings: Mapping[str, Any]
) -> tuple[dict[str, Adapter], dict[str, LazyTensor]]:
    """Weight -> what is added to it; and weights that were trained whole."""
    parts: dict[str, dict[str, Float32]] = {}
    replaced: dict[str, LazyTensor] = {}
    for name, tensor in saved.items():
        short = _at_home(name.removeprefix(_PREFIX))
        match = _PARTS.fullmatch(short)
        if match is None:
            replaced[short.replace(".base_layer.", ".").replace(".modules_to_save.", ".")] = tensor
        else:
            parts.setdefault(match["module"], {})[match["part"]] = tensor.read()
    return {f"{module}.weight": _adapter(module, found, settings) for module, found in parts.items()}, replaced


def _at_home(name: str) -> str:
    """A name without what models that see images put before their text part, as checkpoints are read."""
    for prefix in ("language_model.model.", "model.language_model."):
        if name.startswith(prefix):
            return "model." + name.removeprefix(prefix)
    return name


def _adapter(module: str, parts: Mapping[str, Float32], settings: Mapping[str, Any]) -> Adapter:
    of_table = "lora_embedding_A" in parts
    down, up = (parts.get(f"lora_embedding_{side}" if of_table else f"lora_{side}") for side in "AB")
    if down is None or up is None or down.ndim != 2 or up.ndim != 2 or down.shape[0] != up.shape[1]:
        raise CheckpointError(
            f"the adapter of {module} lacks a part, or its parts do not fit together",
            code=ErrorCode.ADAPTER_DAMAGED,
            hint="the file is incomplete; save the adapter again",
        )
    rank = _of(module, settings, "rank_pattern", "r")
    alpha = _of(module, settings, "alpha_pattern", "lora_alpha")
    if rank != down.shape[0]:
        raise CheckpointError(
            f"the adapter of {module} has rank {down.shape[0]}, but {CONFIG} says {rank}",
            code=ErrorCode.ADAPTER_DAMAGED,
            hint="the two files belong to different adapters",
        )
    scale = alpha / (math.sqrt(rank) if settings.get("use_rslora") else rank)
    if of_table:  # a lookup's table is the transpose of what peft multiplies: its rows are columns of A
        down, up = up.T, down.T
    return Adapter(scale, np.ascontiguousarray(down), np.ascontiguousarray(up), parts.get("lora_magnitude_vector"))


def _of(module: str, settings: Mapping[str, Any], patterns: str, usual: str) -> float:
    """The module's own number, else the adapter's."""
    matches: Callable[[str], Any] = lambda pattern: re.fullmatch(rf"(.*\.)?({pattern})", module)  # noqa: E731
    own = next((value for pattern, value in (settings.get(patterns) or {}).items() if matches(pattern)), None)
    number = settings.get(usual) if own is None else own
    if not isinstance(number, int | float) or isinstance(number, bool) or number <= 0:
        raise CheckpointError(
            f"{usual} of {CONFIG} is {number!r}, expected a number above 0", code=ErrorCode.ADAPTER_DAMAGED
        )
    return number
