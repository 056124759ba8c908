"""A tiny Llama with a tokenizer, published as a checkpoint folder, and a third-party family that knows its size."""

from __future__ import annotations

import contextlib
import io
import json
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from edgegen.cli import main
from edgegen.testing.plugins import installed, make_distribution

ROOT = Path(__file__).parents[1]
FORMATS = ("edgegen-gguf", "edgegen-huggingface", "edgegen-pytorch")
# Helpers beside the tests are found whichever way pytest imports these: `weights` here, corpora beside their formats.
sys.path[:0] = map(str, (Path(__file__).parent, *(ROOT / "packages" / name / "tests" for name in FORMATS)))

PLUGIN = """
from edgegen import hookimpl
from edgegen.descriptors import ModelFamily, Variant

@hookimpl
def edgegen_model_families():
    llama = "edgegen_layers.families.llama"
    yield ModelFamily(
        name="tiny", summary="a Llama for tests", config="tiny_size:config", builder=f"{llama}:build",
        read_config="edgegen_models_llama.llama:read_config",
        variants=tuple(
            Variant(name=name, parameters=94_528, context_length=64, source="nowhere/tiny", license="apache-2.0")
            for name in ("tiny-100k", "tiny-wider")
        ),
        weight_maps={"huggingface": f"{llama}:huggingface", "gguf": f"{llama}:gguf_interleaved"},
    )
"""
SIZES = """
from edgegen_layers.families.llama import LlamaConfig

COMMON = dict(
    vocab_size=320, intermediate_size=128, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
    max_position_embeddings=64, tie_word_embeddings=True,
)
CONFIGS = {
    "tiny-100k": LlamaConfig(hidden_size=64, head_dim=16, **COMMON),
    "tiny-wider": LlamaConfig(hidden_size=96, head_dim=24, **COMMON),
}

def config(name):
    return CONFIGS[name]
"""
TEMPLATE = "{% for m in messages %}<|user|>{{ m['content'] }}{% endfor %}<|assistant|>"


@dataclass
class Result:
    """What a command came to."""

    code: int
    out: str
    err: str

    @property
    def json(self):
        return json.loads(self.out)


@pytest.fixture(scope="session")
def tiny_family(tmp_path_factory):
    folder = tmp_path_factory.mktemp("plugins")
    make_distribution(folder, "edgegen-tiny", PLUGIN, files={"tiny_size.py": SIZES})
    with installed(folder):
        yield folder


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory) -> Path:
    """Two blocks of random weights, in two shards, with a byte-level tokenizer."""
    from transformers import LlamaConfig, LlamaForCausalLM

    folder = tmp_path_factory.mktemp("checkpoint")
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=320,
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=64,
        rms_norm_eps=1e-5,
        tie_word_embeddings=True,
        initializer_range=0.2,
        bos_token_id=0,
        eos_token_id=1,
    )
    LlamaForCausalLM(config).save_pretrained(folder, max_shard_size="200KB")
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    special = ["<s>", "</s>", "<|user|>", "<|assistant|>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=320, special_tokens=special, initial_alphabet=alphabet)
    tokenizer.train_from_iterator(["the quick brown fox jumps over the lazy dog " * 3], trainer)
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(
        json.dumps({"bos_token": "<s>", "eos_token": "</s>", "chat_template": TEMPLATE})
    )
    return folder


@pytest.fixture(scope="session")
def edgegen(tiny_family):
    """Run the command line in this process."""

    def run(*arguments: object) -> Result:
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = main([str(argument) for argument in arguments])
        return Result(code or 0, out.getvalue(), err.getvalue())

    return run


@pytest.fixture(scope="session")
def exported(edgegen, checkpoint, tmp_path_factory) -> Path:
    """The tiny model, exported in float32 with a cache of 48."""
    output = tmp_path_factory.mktemp("exported") / "tiny"
    result = edgegen(
        "export", "tiny-100k", "--checkpoint", checkpoint, "-o", output,
        "--scheme", "fp32", "--prefill-lengths", "4,16", "--cache-length", 48,
    )  # fmt: skip
    assert result.code == 0, result.err
    return output


@pytest.fixture(scope="session")
def minilm() -> Path:
    """The real all-MiniLM-L6-v2 checkpoint, where the package that carries it is installed."""
    import weights

    try:
        return weights.minilm()
    except FileNotFoundError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def smollm2() -> Path:
    """The real SmolLM2-135M-Instruct checkpoint, where the package that carries it is installed."""
    import weights

    try:
        return weights.smollm2()
    except FileNotFoundError as error:
        pytest.skip(str(error))
