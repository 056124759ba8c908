"""The plugin: three checkpoint formats. Imports nothing heavy, so that listing plugins stays fast."""

from __future__ import annotations

from edgegen.descriptors import CheckpointFormat, Oracle
from edgegen.hookspecs import hookimpl

_CONVENTIONS = {
    "huggingface": ("model.layers.*.self_attn.q_proj.weight", "model.embed_tokens.weight"),
    "gpt2": ("transformer.h.*.attn.c_attn.weight", "transformer.wte.weight", "h.*.attn.c_attn.weight"),
    "gpt-neox": ("gpt_neox.layers.*.attention.query_key_value.weight", "gpt_neox.embed_in.weight"),
    "openelm": ("transformer.layers.*.attn.qkv_proj.weight", "transformer.token_embeddings.weight"),
}
"""Naming convention of an architecture -> patterns that give it away."""

_SYMPTOMS = {
    r"^(module|_orig_mod|_forward_module)\.": "saved from a wrapped model; strip the first part of every name",
    r"^(score|v_head|value_head|classifier|qa_outputs)\b": "it has another head: a classifier or a reward model",
    r"\.experts\.": "a mixture of experts; the family's models have none",
    r"^(language_model|model\.language_model)\.": "a multimodal checkpoint; its text part has other names",
}
"""Regular expression on a left-over name -> what it means."""


@hookimpl
def edgegen_checkpoint_formats() -> list[CheckpointFormat]:
    return [
        CheckpointFormat(
            name="safetensors",
            summary="one file, or shards with an index",
            naming="huggingface",
            detect="edgegen_huggingface.safetensors:detect",
            open="edgegen_huggingface.safetensors:open_checkpoint",
            suffixes=(".safetensors",),
            conventions=_CONVENTIONS,
            symptoms=_SYMPTOMS,
        ),
        CheckpointFormat(
            name="installed-package",
            summary="an installed Python package that carries a model, by its name",
            naming="",
            detect="edgegen_huggingface.installed_package:detect",
            open="edgegen_huggingface.installed_package:open_checkpoint",
            reference="an installed package that carries a model, by its name",
        ),
        CheckpointFormat(
            name="huggingface-hub",
            summary="a repository of the Hugging Face hub: org/name, hf:org/name@revision/file",
            naming="",
            detect="edgegen_huggingface.hub.reference:detect",
            open="edgegen_huggingface.hub.checkpoint:open_checkpoint",
            reference="a repository: hf:org/name",
        ),
    ]


@hookimpl
def edgegen_oracles() -> list[Oracle]:
    return [
        Oracle(
            name="transformers",
            summary="the models' published code, in float32",
            open="edgegen_huggingface.transformers_oracle:open_model",
        )
    ]
