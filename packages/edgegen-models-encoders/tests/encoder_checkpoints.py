"""Tiny BERTs and T5s of transformers' with random weights, as the checkpoints that people publish."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import BertConfig, BertForPreTraining, BertModel, T5Config, T5ForConditionalGeneration

from edgegen_layers.testing import empty_model, random_model, resolve, save_tensors, stated_config

BERT = {
    "vocab_size": 64, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48,
    "max_position_embeddings": 16,
}  # fmt: skip
T5 = {
    "vocab_size": 64, "d_model": 32, "d_kv": 12, "d_ff": 48, "num_layers": 2, "num_decoder_layers": 3, "num_heads": 4,
    "relative_attention_num_buckets": 8, "relative_attention_max_distance": 12, "decoder_start_token_id": 0,
}  # fmt: skip
FIRST_T5 = {"feed_forward_proj": "relu"}
SECOND_T5 = {"feed_forward_proj": "gated-gelu", "tie_word_embeddings": False}

DEVIATIONS = {".q.": 0.05, "relative": 2.0, "SelfAttention.v": 0.4, "SelfAttention.o": 0.4}
"""Part of a name -> deviation, where not 0.2: T5 does not scale scores, so its queries are small; and positions matter,
or else its answers repeat one token."""

TEXT = [3, 1, 4, 1, 5, 9, 2, 6, 5, 35]
ANSWER = [0, 7, 40, 41, 8, 2, 61, 17, 3, 30, 5, 12]


def bert(kind: type = BertModel, **changes: Any) -> Any:
    return random_model(kind(BertConfig(**{**BERT, **changes})), std=0.2, seed=1)


def save_as_first_published(model: BertModel, folder: Path) -> Path:
    """As bert-base-uncased: heads beside the encoder, norms by their old names, positions as numbers."""
    whole = BertForPreTraining(model.config)
    whole.bert.load_state_dict(model.state_dict())
    tensors = {name: tensor.clone() for name, tensor in whole.state_dict().items() if "decoder" not in name}
    tensors = {
        name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"): tensor
        for name, tensor in tensors.items()
    }
    tensors["bert.embeddings.position_ids"] = torch.arange(16)[None]
    return save_tensors(tensors, folder, model.config.to_dict())


def add_modules(folder: Path, mode: str, *, normalize: bool, **other: Any) -> Path:
    """The files of sentence-transformers."""
    kinds = {"": "Transformer", "1_Pooling": "Pooling", **({"2_Normalize": "Normalize"} if normalize else {})}
    (folder / "modules.json").write_text(
        json.dumps(
            [
                {"idx": number, "path": path, "type": f"sentence_transformers.models.{kind}"}
                for number, (path, kind) in enumerate(kinds.items())
            ]
        )
    )
    (folder / "1_Pooling").mkdir()
    modes = {f"pooling_mode_{name}": name == mode for name in ("cls_token", "mean_tokens", "max_tokens")}
    (folder / "1_Pooling" / "config.json").write_text(json.dumps({"word_embedding_dimension": 32, **modes, **other}))
    return folder


def pooled(model: BertModel, tokens: list[int], pooling: str, *, normalize: bool) -> torch.Tensor:
    """The embedding of a text as transformers makes it, ``[D]``."""
    vectors = model(torch.tensor([tokens])).last_hidden_state[0]
    vector = vectors[0] if pooling == "cls" else vectors.mean(0)
    return nn.functional.normalize(vector, dim=0) if normalize else vector


def t5(**changes: Any) -> T5ForConditionalGeneration:
    """With a head of its own where it is not tied, which transformers 5 makes only when it loads one."""
    model = T5ForConditionalGeneration(T5Config(**{**T5, **changes})).eval().requires_grad_(False)
    if changes.get("tie_word_embeddings") is False:
        model.lm_head.weight = nn.Parameter(torch.empty_like(model.lm_head.weight), requires_grad=False)
    return random_model(model, std=0.2, deviations=DEVIATIONS, seed=1)


def save_t5(model: T5ForConditionalGeneration, folder: Path, **changes: Any) -> Path:
    """As published: the table of tokens for each half once more, ``tie_word_embeddings`` as it was once meant."""
    tied = model.config.scale_decoder_outputs
    config = model.config.to_dict() | {"tie_word_embeddings": tied}
    del config["scale_decoder_outputs"]
    return save_tensors(model.state_dict(), folder, {**config, **changes})


def sources(family: str, folder: Path) -> tuple[Any, dict[str, Any]]:
    """The model on ``meta``, and where its weights come from."""
    config = stated_config(family, folder)
    return empty_model(family, config), resolve(family, folder, config)
