"""The table of variants agrees with the architecture that it describes."""

from __future__ import annotations

import re

import pytest
import torch

from edgegen.plugins import registry
from edgegen_layers import LinearScaling
from edgegen_models_gemma.gemma import build, config
from edgegen_models_gemma.variants import CHAT_TEMPLATE, CONFIGS, VARIANTS
from edgegen_runtime.text.chat_template import ChatTemplate

BY_NAME = {variant.name: variant for variant in VARIANTS}


def on_meta(name: str, **layers: str):
    with torch.device("meta"):
        return build(config(name), layers=layers)


def test_tuned_models_have_the_size_of_their_base():
    for name, variant in BY_NAME.items():
        assert CONFIGS[name] == CONFIGS[name.removesuffix("-it")]
        assert variant.parameters == BY_NAME[name.removesuffix("-it")].parameters


@pytest.mark.parametrize("variant", VARIANTS, ids=lambda variant: variant.name)
def test_rows_are_complete(variant):
    assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9.]+)+", variant.name)
    assert config(variant.name).max_position_embeddings == variant.context_length
    assert variant.license == "gemma"
    assert "<eos>" in variant.stop_tokens
    assert ("<end_of_turn>" in variant.stop_tokens) == variant.name.endswith("-it")
    assert variant.source.startswith("google/gemma-")
    assert registry().variant(variant.name)[0].name == "gemma"
    assert registry().scheme(variant.scheme).name == "int8-channel"


def windows(name: str) -> list[int | None]:
    return [config(name).attention(layer_type).sliding_window for layer_type in config(name).layer_types]


def test_generations_differ_in_values():
    assert set(windows("gemma-7b")) == {None}
    assert windows("gemma2-2b")[:4] == [4096, None, 4096, None]
    assert windows("gemma3-1b")[:7] == [512] * 5 + [None, 512]
    assert windows("gemma3-4b")[:6] == [1024] * 5 + [None]
    near, far = (config("gemma3-4b").attention(config("gemma3-4b").layer_types[i]) for i in (0, 5))
    assert (near.rope_theta, near.rope_scaling) == (10_000.0, None)
    assert (far.rope_theta, far.rope_scaling) == (1_000_000.0, LinearScaling(factor=8.0))
    assert (config("gemma2-9b").final_logit_softcapping, far.logit_softcap) == (30.0, None)


def test_the_chat_template_puts_turns_where_the_model_expects_them():
    template = ChatTemplate(CHAT_TEMPLATE, bos_token="<bos>")
    talk = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": " Hi "},
        {"role": "assistant", "content": "Hello"},
        {"role": "user", "content": "Bye"},
    ]
    first = "<start_of_turn>user\nBe brief.\n\nHi<end_of_turn>\n<start_of_turn>model\nHello<end_of_turn>\n"
    assert template.render(talk) == f"<bos>{first}<start_of_turn>user\nBye<end_of_turn>\n<start_of_turn>model\n"
    assert template.render(talk[1:2]) == "<bos><start_of_turn>user\nHi<end_of_turn>\n<start_of_turn>model\n"
