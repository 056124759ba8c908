"""Names of tensors in Hugging Face repositories, brought into one form: ``model.layers.0...``, ``lm_head.weight``.

Trainers and wrappers put words of their own before or between them, and the text part of a model that sees images goes
by two other names.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from edgegen.errors import CheckpointError, ErrorCode, UnsupportedError
from edgegen.weights.tensors import LazyTensor

_WRAPPERS = ("_orig_mod.", "_fsdp_wrapped_module.", "_checkpoint_wrapped_module.")
"""Words that ``torch.compile`` and sharded training put anywhere."""

_TEXT_PARTS = (("language_model.model.", "model."), ("model.language_model.", "model."), ("language_model.", ""))
"""Where the text part of a model that sees images is -> where it is by itself."""

_BARE = re.compile(r"(embed_tokens|layers\.\d+|norm|final_layernorm)\..+")
"""Names of a decoder that was saved without its head, which leaves out ``model.``."""

_UNMERGED = (".lora_A.", ".lora_B.", ".base_layer.", ".lora_embedding_A", ".lora_magnitude_vector")


def canonical_names(tensors: Mapping[str, LazyTensor], file: Path) -> dict[str, LazyTensor]:
    """The tensors by canonical names; each keeps its own ``name``. Those of an adapter stay as they are.

    Args:
        tensors: by the names that they have.
        file: one that they are in.

    Raises:
        UnsupportedError: an adapter lies among the weights, unmerged.
        CheckpointError: two tensors would have one name.
    """
    if file.name.startswith("adapter_model."):
        return dict(tensors)
    unmerged = next((name for name in tensors if any(part in name for part in _UNMERGED)), None)
    if unmerged is not None:
        raise UnsupportedError(
            f"the checkpoint holds an adapter that is not merged: {unmerged}",
            code=ErrorCode.ADAPTER_NOT_MERGEABLE,
            hint="save the result of peft's merge_and_unload(), or give the base model and --lora DIR",
        )
    names = {name: _canonical(name) for name in tensors}
    for prefix in ("module.", "base_model.model."):
        if all(name.startswith(prefix) for name in names.values()):
            names = {own: name.removeprefix(prefix) for own, name in names.items()}
    # A trainer's module that has the language model as its `model`.
    if all(name.startswith("model.") for name in names.values()) and any(
        name.startswith("model.model.") for name in names.values()
    ):
        names = {own: name.removeprefix("model.") for own, name in names.items()}
    for text, alone in _TEXT_PARTS:
        if any(name.startswith(text) for name in names.values()):
            names = {own: alone + name[len(text) :] if name.startswith(text) else name for own, name in names.items()}
    if not any(name.startswith("model.") for name in names.values()) and "embed_tokens.weight" in names.values():
        names = {own: f"model.{name}" if _BARE.fullmatch(name) else name for own, name in names.items()}
    renamed: dict[str, LazyTensor] = {}
    for own, name in names.items():
        if name in renamed:
            raise CheckpointError(
                f"{renamed[name].name} and {own} are both {name}",
                code=ErrorCode.CHECKPOINT_DAMAGED,
                hint="leave out the one that is not wanted",
            )
        renamed[name] = tensors[own]
    return renamed


def _canonical(name: str) -> str:
    for wrapper in _WRAPPERS:
        name = name.replace(wrapper, "")
    return name
