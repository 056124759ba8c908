"""Implementations of blocks: every choice has an effect or is an error, and so is what an implementation lacks."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import nn

from edgegen.errors import PluginError, UnsupportedError, UsageError
from edgegen.plugins import load, registry
from edgegen.testing.plugins import installed, make_distribution
from edgegen_layers import (
    AttentionConfig,
    CausalSelfAttention,
    FeedForwardConfig,
    GatedFeedForward,
    LayerChoices,
    NormalizationConfig,
    RMSNorm,
    TransformerBlockConfig,
    TransformerConfig,
    TransformerLM,
)
from edgegen_layers.config import FEATURES
from edgegen_layers.layer_choices import BLOCKS

PLUGIN = """
from edgegen import hookimpl
from edgegen.descriptors import LayerImpl

@hookimpl
def edgegen_layers():
    yield LayerImpl(block="attention", name="own", impl="own_layers:Kernel", unsupported=("softcap", "sliding_window"))
    yield LayerImpl(block="mixer", name="own", impl="own_layers:Mixer", unsupported=("bias",))
    yield LayerImpl(block="mlp", name="own", impl="own_layers:Mlp", unsupported=("plain", "experts", "gelu"))
    yield LayerImpl(block="norm", name="own", impl="own_layers:Norm", unsupported=("layer",))
    yield LayerImpl(block="norm", name="misspelt", impl="own_layers:Norm", unsupported=("lauer",))
    for block in ("attention", "mixer", "mlp", "norm"):
        yield LayerImpl(block=block, name="failing", impl="own_layers:failing")
        yield LayerImpl(block=block, name="empty", impl="own_layers:Empty")
    yield LayerImpl(block="feed_forward", name="own", impl="nowhere:Nothing")
"""
LAYERS = """
from edgegen_layers import CausalSelfAttention, GatedFeedForward, MatmulAttention, RMSNorm

class Kernel(MatmulAttention): ...
class Mixer(CausalSelfAttention): ...
class Mlp(GatedFeedForward): ...
class Norm(RMSNorm): ...
class Empty:
    def __init__(self, *arguments): ...
def failing(*arguments):
    raise RuntimeError("oh")
"""
ATTENTION = {"num_attention_heads": 4, "num_kv_heads": 2, "head_dim": 8}
NEEDS = {
    "attention": ({"logit_softcap": 5.0}, {}, {}, "softcap"),
    "mixer": ({"qkv_use_bias": True}, {}, {}, "bias"),
    "mlp": ({}, {"activation": "gelu"}, {}, "gelu"),
    "norm": ({}, {}, {"kind": "layer"}, "layer"),
}
"""Block -> settings of attention, feed-forward and norms that its implementation lacks, and the word for it."""


@pytest.fixture(scope="module", autouse=True)
def plugin(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    folder = tmp_path_factory.mktemp("plugins")
    make_distribution(folder, "edgegen-own", PLUGIN, files={"own_layers.py": LAYERS})
    with installed(folder):
        yield


def build(layers: dict[str, str], attention=None, mlp=None, norm=None) -> TransformerLM:
    normalization = NormalizationConfig(**(norm or {}))
    block = TransformerBlockConfig(
        attn_config=AttentionConfig(**ATTENTION, **(attention or {})),
        ff_config=FeedForwardConfig(intermediate_size=16, **(mlp or {})),
        pre_attention_norm_config=normalization,
        pre_ff_norm_config=normalization,
    )
    config = TransformerConfig(
        vocab_size=20, hidden_size=32, num_hidden_layers=2, max_position_embeddings=16, block_config=block,
        final_norm_config=normalization,
    )  # fmt: skip
    return LayerChoices(layers).build(lambda config, choices: TransformerLM(config, layers=choices), config)


def parts(model: TransformerLM) -> dict[str, list[object]]:
    blocks = list(model.blocks)
    return {
        "attention": [model.kernel],
        "mixer": [block.attention for block in blocks],
        "mlp": [block.feed_forward for block in blocks],
        "norm": [norm for block in blocks for norm in (block.attention_norm, block.feed_forward_norm)]
        + [model.final_norm],
    }


@pytest.mark.parametrize("block", BLOCKS)
def test_an_implementation_stands_for_its_block_everywhere(block: str):
    chosen = parts(build({block: "own"}))
    for name, modules in chosen.items():
        assert {type(module).__module__ == "own_layers" for module in modules} == {name == block}


@pytest.mark.parametrize("block", BLOCKS)
def test_a_model_with_it_computes_and_exports_the_same(block: str):
    torch.manual_seed(0)
    plain, chosen = build({}), build({block: "own"})
    chosen.load_state_dict(plain.state_dict())
    tokens, positions = torch.tensor([[3, 1, 4]], dtype=torch.int32), torch.arange(3, dtype=torch.int32)
    expected, got = (model(tokens, positions, model.new_cache(8))["logits"] for model in (plain, chosen))
    torch.testing.assert_close(got, expected)
    assert chosen.scaling_groups() == plain.scaling_groups()
    assert chosen.lora_projections() == plain.lora_projections()


def test_blocks_with_other_implementations_are_traced_apart():
    keys = {build(layers).blocks[0].trace_key for layers in ({}, {"mlp": "own"}, {"norm": "own"})}
    assert len(keys) == 3


@pytest.mark.parametrize("block", NEEDS)
def test_what_an_implementation_lacks_is_refused(block: str):
    attention, mlp, norm, word = NEEDS[block]
    with pytest.raises(UnsupportedError, match=f"{block}=own of edgegen-own does not support {word}") as caught:
        build({block: "own"}, attention, mlp, norm)
    assert block in (caught.value.hint or "")


def test_a_word_that_is_no_feature_is_the_plugins_mistake():
    with pytest.raises(PluginError, match="lauer"):
        build({"norm": "misspelt"})


def test_a_choice_that_the_model_does_not_look_up_is_an_error_that_lists_those_it_does():
    with pytest.raises(UsageError, match="feed_forward=own has no effect") as caught:
        build({"feed_forward": "own"})
    listed = "\n".join(caught.value.details)
    assert [line.split()[0] for line in caught.value.details] == sorted(BLOCKS)
    for name in ("matmul", "sdpa", "gated", "rms", "own"):
        assert name in listed


@pytest.mark.parametrize("variant", ["smollm2-135m", "gemma3-270m", "qwen3-0.6b", "openelm-270m", "phi-2", "t5-small"])
@pytest.mark.parametrize("layers", [{"feed_forward": "own"}, {"attention": "matmul", "feed_forward": "own"}], ids=str)
def test_so_it_is_with_families(variant: str, layers: dict[str, str]):
    """As in ``edgegen export VARIANT --layer feed_forward=own``."""
    family, row = registry().variant(variant)
    with torch.device("meta"), pytest.raises(UsageError, match="no block 'feed_forward'"):
        load(family.builder)(load(family.config)(row.name), layers=layers)


def test_an_encoder_has_no_kernel_to_choose():
    family, row = registry().variant("all-minilm-l6-v2")
    config = load(family.config)(row.name)
    with torch.device("meta"):
        with pytest.raises(UsageError, match="no block 'attention'"):
            load(family.builder)(config, layers={"attention": "sdpa"})
        model = load(family.builder)(config, layers={"mlp": "plain"})
    assert isinstance(model, nn.Module)


def test_a_name_that_does_not_exist_suggests_one():
    with pytest.raises(UsageError, match="did you mean gated"):
        build({"mlp": "gatet"})


def test_built_in_implementations_are_registered_for_every_block():
    kinds = {"mixer": CausalSelfAttention, "mlp": GatedFeedForward, "norm": RMSNorm}
    names = {"mixer": "attention", "mlp": "gated", "norm": "rms"}
    for block, kind in kinds.items():
        assert load(registry().layer(block, names[block]).impl) is kind


def test_a_kind_of_norm_that_the_model_does_not_have_is_refused():
    with pytest.raises(UnsupportedError, match="norm=layer of edgegen-layers does not support rms"):
        build({"norm": "layer"})


def test_a_ring_has_no_biases_by_position():
    family, row = registry().variant("t5-small")
    with torch.device("meta"), pytest.raises(UnsupportedError, match="position_bias"):
        load(family.builder)(load(family.config)(row.name), layers={"attention": "ring"})


def test_every_feature_has_a_word_that_implementations_may_use():
    attention = AttentionConfig(
        **ATTENTION, alibi=True, qkv_fused=False, qkv_use_bias=True, sliding_window=4, logit_softcap=2.0,
        qk_norm=NormalizationConfig(), rotary_interleaved=True, partial_rotary_factor=0.5,
    )  # fmt: skip
    assert attention.features == FEATURES["attention"]
    assert FeedForwardConfig(intermediate_size=4, num_experts=2, use_bias=True).features < FEATURES["mlp"]
    assert NormalizationConfig(kind="layer", scale_shift=1.0).features < FEATURES["norm"]
    assert NormalizationConfig(with_scale=False).features < FEATURES["norm"]


@pytest.mark.parametrize("block", BLOCKS)
def test_an_implementation_that_fails_is_named(block: str):
    with pytest.raises(PluginError, match=rf"layer {block}=failing \(edgegen-own\) failed: RuntimeError: oh") as caught:
        build({block: "failing"})
    assert "own_layers.py" in caught.value.details[0]


@pytest.mark.parametrize("block", BLOCKS)
def test_an_implementation_that_lacks_what_the_model_calls_is_named(block: str):
    lacking = r"it lacks .*cache_length" if block == "attention" else "returned a Empty where a Module belongs"
    with pytest.raises(PluginError, match=rf"layer {block}=empty \(edgegen-own\).*{lacking}"):
        build({block: "empty"})
