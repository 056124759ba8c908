"""The files that Hugging Face repositories keep beside their weights: ``config.json`` and the tokenizer's.

Where several files state one value, precedence is as in ``transformers``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgegen.errors import CheckpointError, ErrorCode
from edgegen.weights.files import DOWNLOAD_AGAIN, read_json_list
from edgegen_huggingface.small_files import is_there, optional_json
from edgegen_huggingface.tokenizer_files import TOKENIZER_FILES, VOCABULARY_FILES, read_tokenizer

__all__ = [
    "CONFIG",
    "HARMLESS_KEYS",
    "HARMLESS_VALUES",
    "MODULES",
    "SIDECARS",
    "TOKENIZER_FILES",
    "read_config",
    "read_modules",
    "read_tokenizer",
    "sidecars",
]

CONFIG = "config.json"
MODULES = "modules.json"
"""List of a sentence-transformers model's parts, each with a folder for its settings."""

_PROVENANCE = (
    "_*",
    "architectures",
    "auto_map",
    "finetuning_task",
    "is_llama_config",
    "license",
    "model_type",
    "name_or_path",
    "transformers*",
    "unsloth_*",
)
_TRAINING = (
    "*_dropout",
    "attention_dropout",
    "dropout*",
    "embd_pdrop",
    "gradient_checkpointing",
    "hidden_dropout*",
    "initializer_factor",
    "initializer_range",
    "neftune_noise_alpha",
    "resid_pdrop",
    "router_jitter_noise",
)
_RUNNING = (
    "attn_implementation",
    "base_model_*_plan",
    "chunk_size_feed_forward",
    "dtype",
    "keys_to_ignore_at_inference",
    "output_*",
    "pretraining_tp",
    "quantization_config",  # of tensors that are plain numbers; see edgegen_huggingface.quantized
    "return_dict*",
    "tf_legacy_loss",
    "torch_dtype",
    "torchscript",
    "use_bfloat16",
    "use_cache",
    "use_return_dict",
)
_OTHER_HEADS = ("classifier_dropout", "id2label", "label2id", "num_labels", "problem_type", "summary_*")
_GENERATION = (
    "*_token_id",
    "bad_words_ids",
    "begin_suppress_tokens",
    "diversity_penalty",
    "do_sample",
    "early_stopping",
    "encoder_no_repeat_ngram_size",
    "exponential_decay_length_penalty",
    "length_penalty",
    "max_length",
    "max_new_tokens",
    "max_sequence_length",
    "min_length",
    "min_new_tokens",
    "model_max_length",
    "no_repeat_ngram_size",
    "num_beam_groups",
    "num_beams",
    "num_return_sequences",
    "prefix",
    "remove_invalid_values",
    "repetition_penalty",
    "suppress_tokens",
    "task_specific_params",
    "temperature",
    "tokenizer_class",
    "top_k",
    "top_p",
    "typical_p",
)
HARMLESS_KEYS = (*_PROVENANCE, *_TRAINING, *_RUNNING, *_OTHER_HEADS, *_GENERATION)
"""Patterns of keys of ``config.json`` that change nothing: provenance, training, other heads, generation, and how
transformers is to run the model."""

HARMLESS_VALUES: Mapping[str, Any] = {
    "add_cross_attention": False,
    "cross_attention_hidden_size": None,
    "is_decoder": False,
    "is_encoder_decoder": False,
    "pruned_heads": {},
    "rope_interleaved": False,
    "tie_encoder_decoder": False,
    "use_mrope": False,
    "use_qk_norm": False,
}
"""Keys that change nothing as long as they have this value."""

_POOLING = "1_Pooling/config.json"
SIDECARS = (
    CONFIG,
    *TOKENIZER_FILES,
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    *VOCABULARY_FILES,
    "generation_config.json",
    "chat_template.jinja",
    "chat_template.json",
    MODULES,
    _POOLING,
)

_PLAIN = re.compile(r"[\w-]*", re.ASCII)


def sidecars(folder: Path) -> tuple[Path, ...]:
    """Files of :data:`SIDECARS` that are in the folder."""
    return tuple(folder / name for name in SIDECARS if is_there(folder / name))


def read_config(folder: Path) -> dict[str, Any]:
    """``config.json``, or an empty dict where there is none.

    Raises:
        CheckpointError: the file is not a JSON object, or no file.
    """
    return optional_json(folder / CONFIG)


def read_modules(folder: Path) -> list[tuple[str, dict[str, Any]]] | None:
    """The parts of a model of sentence-transformers in their order, as kind and settings; None where it is none.

    A kind is the last word of the class's name, ``Pooling``. The first part is the model that lies beside the file.

    Raises:
        CheckpointError: the file is damaged.
    """
    path = folder / MODULES
    if not is_there(path):
        return None
    parts = read_json_list(path)
    kinds = [part.get("type") if isinstance(part, dict) else None for part in parts]
    places = [part.get("path") if isinstance(part, dict) else None for part in parts]
    # A place is joined to the folder, so anything but a plain name could reach outside the checkpoint.
    if not all(isinstance(kind, str) for kind in kinds) or not all(
        isinstance(place, str) and _PLAIN.fullmatch(place) for place in places
    ):
        raise CheckpointError(
            f"{MODULES} does not list the parts of a model", code=ErrorCode.CHECKPOINT_DAMAGED, hint=DOWNLOAD_AGAIN
        )
    named = zip(map(str, kinds), map(str, places), strict=True)
    return [(kind.rpartition(".")[2], optional_json(folder / place / CONFIG) if place else {}) for kind, place in named]
