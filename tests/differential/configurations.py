"""Random configurations of published architectures, and the comparison of edgegen's reading of them with transformers.

A draw begins with small sizes that are valid, gives some keys other values, leaves some out, and at times changes a key
that no family here knows. Transformers builds the model that this ``config.json`` describes, with random weights; a
family of edgegen reads the same folder. It either refuses the configuration, or computes the same: the logits of a
decoder at once, token by token beyond every window, and (where a file is made) in the exported file; an encoder's
vectors, padded; an encoder-decoder's logits of an answer. OpenELM is not among them: transformers has no code for it.
"""

from __future__ import annotations

import copy
import json
import random
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from safetensors.torch import save_file

from edgegen.api import Converter
from edgegen.errors import EdgegenError
from edgegen.export.identify import empty_model
from edgegen.family_calls import config_for_context, resolve_weights, stated_config
from edgegen.litert.session import Session
from edgegen.plugins import load, registry
from edgegen.weights import open_checkpoint
from edgegen.weights.module import parameter_shapes
from edgegen_layers.testing.parity import fill

Config = dict[str, Any]
MISSING = object()
"""Value of a key that is left out."""

TOKENS = 44
"""Length of the text; windows and original contexts are shorter."""


@dataclass(frozen=True)
class Space:
    """The configurations of one architecture.

    Attributes:
        family: of edgegen.
        base: ``config.json`` of a small model.
        choices: key -> other values that it may have, :data:`MISSING` among them.
        ropes: draws a rotary setting: keys of ``config.json``.
        auto: transformers' class that builds the model.
    """

    family: str
    base: Config
    choices: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    ropes: Callable[[random.Random], Config] = lambda rng: {}
    auto: str = "AutoModelForCausalLM"

    @property
    def name(self) -> str:
        """The architecture, ``model_type``."""
        return str(self.base["model_type"])


def _rope(rng: random.Random, settings: list[Config], *, theta: tuple[float, ...] = (10_000.0, 500.0)) -> Config:
    """One of ``settings`` as transformers 5 writes it, as transformers 4 did, or in both keys at once."""
    rope = dict(rng.choice(settings))
    base = rng.choice(theta)
    form = rng.choice(("new", "old", "older", "both"))
    if form == "new":
        return {"rope_parameters": {**rope, "rope_theta": base}}
    if "rope_type" not in rope or rope["rope_type"] == "default":
        return {"rope_theta": base, "rope_scaling": rng.choice((None, MISSING))}
    if form == "older":
        rope["type"] = rope.pop("rope_type")
    if form == "both":
        return {"rope_theta": base, "rope_scaling": rope, "rope_parameters": {**rope, "rope_theta": base}}
    return {"rope_theta": base, "rope_scaling": rope}


_PLAIN: list[Config] = [{"rope_type": "default"}, {}]
_STRETCHED: list[Config] = [
    {"rope_type": "linear", "factor": 4.0},
    {"rope_type": "dynamic", "factor": 2.0},
    {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
     "original_max_position_embeddings": 32},
    {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32},
    {"rope_type": "yarn", "factor": 2.0},
    {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32, "attention_factor": 0.7},
    {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 16, "beta_fast": 16.0, "beta_slow": 2.0},
    {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32, "truncate": False},
    {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32, "mscale": 1.2, "mscale_all_dim": 0.8},
    {"rope_type": "default", "partial_rotary_factor": 0.5},
    {"rope_type": "linear", "factor": 2.0, "partial_rotary_factor": 0.5},
]  # fmt: skip


def _longrope(size: int) -> list[Config]:
    short, long = [1.0 + 0.05 * i for i in range(size)], [1.0 + 1.5 * i for i in range(size)]
    common = {"rope_type": "longrope", "short_factor": short, "long_factor": long}
    return [
        common, {**common, "original_max_position_embeddings": 32}, {**common, "attention_factor": 1.1},
        {**common, "factor": 2.0}, {**common, "rope_type": "su"},
    ]  # fmt: skip


_SIZES: Config = {
    "vocab_size": 99, "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 4, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 128, "rms_norm_eps": 1e-6, "hidden_act": "silu",
    "bos_token_id": 1, "eos_token_id": 2,
}  # fmt: skip
_SIZE_CHOICES: dict[str, tuple[Any, ...]] = {
    "hidden_size": (48, 32), "intermediate_size": (33, 128), "num_hidden_layers": (1, 3, 7),
    "num_key_value_heads": (1, 4, MISSING), "head_dim": (16, 24, 32, None), "vocab_size": (103, 256),
    "rms_norm_eps": (1e-3, 1e-5, MISSING), "hidden_act": ("gelu", "gelu_pytorch_tanh", "relu", MISSING),
    "max_position_embeddings": (64, 40, MISSING), "tie_word_embeddings": (True, False),
    "attention_dropout": (0.1,), "initializer_range": (0.1,), "use_cache": (False,), "pad_token_id": (0,),
}  # fmt: skip
_LAYER_TYPES = tuple(
    [[("sliding_attention", "full_attention")[(i + shift) % period == 0] for i in range(4)] for period in (2, 3, 9)
     for shift in (0, 1)]
)  # fmt: skip
_WINDOW: dict[str, tuple[Any, ...]] = {
    "sliding_window": (8, 16, None, MISSING, 4096), "use_sliding_window": (True, True, False, MISSING),
    "max_window_layers": (0, 1, 2, 4, 28, MISSING), "layer_types": (*_LAYER_TYPES, None, MISSING),
}  # fmt: skip


def _gemma3_ropes(rng: random.Random) -> Config:
    far = rng.choice(
        [{"rope_type": "default"}, {"rope_type": "linear", "factor": 4.0}, {"rope_type": "yarn", "factor": 2.0}]
    )
    if rng.random() < 0.5:
        near = {"rope_type": "default", "rope_theta": rng.choice((10_000.0, 300.0))}
        ropes = {"full_attention": {**far, "rope_theta": 1e6}, "sliding_attention": near}
        return {"rope_parameters": {kind: rope for kind, rope in ropes.items() if rng.random() < 0.8}}
    stated = {"rope_theta": 1e5, "rope_local_base_freq": 500.0} if rng.random() < 0.7 else {}
    return stated if far["rope_type"] == "default" else {**stated, "rope_scaling": far}


_GEMMA: Config = {
    "vocab_size": 99, "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 4, "num_attention_heads": 4,
    "num_key_value_heads": 2, "head_dim": 16, "max_position_embeddings": 128, "rms_norm_eps": 1e-6,
}  # fmt: skip
_GEMMA_CHOICES: dict[str, tuple[Any, ...]] = {
    key: _SIZE_CHOICES[key] for key in ("intermediate_size", "num_hidden_layers", "vocab_size", "rms_norm_eps")
} | {
    "num_key_value_heads": (1, 4), "head_dim": (24, 32), "max_position_embeddings": (64, MISSING),
    "tie_word_embeddings": (True, False, MISSING), "attention_bias": (True, False), "attention_dropout": (0.1,),
    "use_bidirectional_attention": (True, False, None, MISSING), "initializer_range": (0.1,),
}  # fmt: skip
_GEMMA2_CHOICES: dict[str, tuple[Any, ...]] = _GEMMA_CHOICES | {
    "hidden_activation": ("gelu", "gelu_pytorch_tanh", "silu", MISSING), "hidden_act": ("gelu", "silu"),
    "query_pre_attn_scalar": (24, 144, MISSING), "sliding_window": (8, 16, MISSING, None),
    "attn_logit_softcapping": (5.0, None, MISSING), "final_logit_softcapping": (3.0, None, MISSING),
    "layer_types": (*_LAYER_TYPES, None, MISSING), "cache_implementation": ("hybrid",),
}  # fmt: skip

SPACES: tuple[Space, ...] = (
    Space(
        "llama", {"model_type": "llama", **_SIZES},
        _SIZE_CHOICES | {"attention_bias": (True, False), "mlp_bias": (True, False), "pretraining_tp": (1, 2),
                         "sliding_window": (8,), "layer_types": _LAYER_TYPES, "rope_interleaved": (False,)},
        lambda rng: _rope(rng, [*_PLAIN, *_STRETCHED]),
    ),
    Space(
        "llama", {"model_type": "mistral", **_SIZES},
        _SIZE_CHOICES | {"sliding_window": (8, 16, None, MISSING, 4096), "layer_types": _LAYER_TYPES,
                         "attention_bias": (False, True), "use_sliding_window": (False, True)},
        lambda rng: _rope(rng, [*_PLAIN, *_STRETCHED]),
    ),
    Space(
        "qwen", {"model_type": "qwen2", **_SIZES},
        {**_SIZE_CHOICES, "head_dim": (16, MISSING)} | _WINDOW | {"use_mrope": (False, True)},
        lambda rng: _rope(rng, [*_PLAIN, *_STRETCHED]),
    ),
    Space(
        "qwen", {"model_type": "qwen3", **_SIZES, "head_dim": 16},
        {**_SIZE_CHOICES, "head_dim": (32, 24)} | _WINDOW | {"attention_bias": (True, False)},
        lambda rng: _rope(rng, [*_PLAIN, *_STRETCHED]),
    ),
    Space(
        "gemma", {"model_type": "gemma", **_GEMMA, "hidden_act": "gelu_pytorch_tanh"},
        _GEMMA_CHOICES | {"hidden_act": ("gelu", "silu", MISSING), "query_pre_attn_scalar": (24,),
                          "sliding_window": (8,), "hidden_activation": (None, "gelu_pytorch_tanh", "silu")},
        lambda rng: _rope(rng, [*_PLAIN, *_STRETCHED]),
    ),
    Space("gemma", {"model_type": "gemma2", **_GEMMA, "sliding_window": 8}, _GEMMA2_CHOICES,
          lambda rng: _rope(rng, [*_PLAIN, *_STRETCHED])),
    Space(
        "gemma", {"model_type": "gemma3_text", **_GEMMA, "sliding_window": 8},
        _GEMMA2_CHOICES | {"sliding_window_pattern": (2, 3, 6), "_sliding_window_pattern": (2, 3, 6)},
        _gemma3_ropes,
    ),
    Space(
        "phi", {"model_type": "phi", **{key: value for key, value in _SIZES.items() if key != "rms_norm_eps"},
                "hidden_act": "gelu_new", "layer_norm_eps": 1e-5},
        {key: values for key, values in _SIZE_CHOICES.items() if key not in ("rms_norm_eps", "hidden_act", "head_dim")}
        | {"hidden_act": ("gelu", "gelu_pytorch_tanh", "relu", MISSING), "layer_norm_eps": (1e-3, MISSING),
           "qk_layernorm": (True, False), "partial_rotary_factor": (0.25, 0.5, 1.0, MISSING), "resid_pdrop": (0.1,),
           "embd_pdrop": (0.1,)},
        lambda rng: _rope(rng, [*_PLAIN, *_STRETCHED]),
    ),
    Space(
        "phi", {"model_type": "phi3", **_SIZES, "pad_token_id": 0},
        {key: values for key, values in _SIZE_CHOICES.items() if key not in ("head_dim", "pad_token_id")}
        | {"sliding_window": (8, 16, None, MISSING), "partial_rotary_factor": (0.5, 1.0, MISSING),
           "original_max_position_embeddings": (32, 64, MISSING), "attention_bias": (True,), "resid_pdrop": (0.1,)},
        lambda rng: _rope(rng, [*_PLAIN, *_longrope(8), *_longrope(4)]),
    ),
    Space(
        "bert",
        {
            "model_type": "bert", "vocab_size": 99, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4,
            "intermediate_size": 48, "max_position_embeddings": 64,
        },
        {
            "hidden_size": (48, 40), "num_hidden_layers": (1, 3), "num_attention_heads": (1, 2, 8),
            "intermediate_size": (33, MISSING), "vocab_size": (103, 256), "max_position_embeddings": (44, MISSING),
            "hidden_act": ("gelu_new", "relu", "silu", "gelu_pytorch_tanh", "gelu_fast", "tanh", "quick_gelu", MISSING),
            "position_embedding_type": ("absolute", "relative_key", "relative_key_query", MISSING),
            "layer_norm_eps": (1e-5, 1e-2, MISSING), "type_vocab_size": (1, 5, MISSING), "pad_token_id": (1, 3, None),
            "is_decoder": (True, False), "add_cross_attention": (False,), "chunk_size_feed_forward": (0, 4),
            "hidden_dropout_prob": (0.3,), "attention_probs_dropout_prob": (0.3,), "classifier_dropout": (None, 0.1),
            "tie_word_embeddings": (False, True), "initializer_range": (0.1,), "use_cache": (True, False),
        },
        auto="AutoModel",
    ),
    Space(
        "t5",
        {
            "model_type": "t5", "vocab_size": 99, "d_model": 32, "d_kv": 8, "d_ff": 48, "num_layers": 2, "num_heads": 4,
            "decoder_start_token_id": 0, "pad_token_id": 0, "eos_token_id": 1, "is_encoder_decoder": True,
        },
        {
            "d_model": (48, 40), "d_kv": (16, 24, 10), "d_ff": (33,), "num_layers": (1, 3), "num_heads": (1, 2, 8),
            "num_decoder_layers": (1, 3, None, MISSING), "vocab_size": (103, 256), "n_positions": (64, MISSING),
            "feed_forward_proj": (
                "gated-gelu", "gated-gelu", "gated-silu", "gated-relu", "gelu", "silu", "gelu_new", "gated-gelu_new",
                MISSING,
            ),
            "relative_attention_num_buckets": (8, 16, MISSING), "relative_attention_max_distance": (20, 40, MISSING),
            "layer_norm_epsilon": (1e-5, 1e-2, MISSING), "tie_word_embeddings": (True, False, False, MISSING),
            "scale_decoder_outputs": (True, False), "decoder_start_token_id": (5, MISSING), "pad_token_id": (3, 0),
            "dense_act_fn": ("relu", "gelu_new", "silu"), "is_gated_act": (True, False), "dropout_rate": (0.3,),
            "is_decoder": (False, True), "use_cache": (True, False), "initializer_factor": (0.5,),
        },
        auto="AutoModelForSeq2SeqLM",
    ),
)  # fmt: skip
"""The architectures whose modelling code transformers has."""


def draw(space: Space, rng: random.Random) -> Config:
    """A configuration: ``config.json``, of a model that may or may not exist."""
    config = copy.deepcopy(space.base)
    for key in rng.sample(sorted(space.choices), k=min(rng.randint(0, 6), len(space.choices))):
        config[key] = rng.choice(space.choices[key])
    config |= space.ropes(rng)
    if isinstance(config.get("layer_types"), list):
        layers = config["num_hidden_layers"]
        config["layer_types"] = [config["layer_types"][i % len(config["layer_types"])] for i in range(layers)]
    if rng.random() < 0.25:
        key, value = _stray(space, rng)
        config.setdefault(key, value)
    return {key: value for key, value in config.items() if value is not MISSING}


def _stray(space: Space, rng: random.Random) -> tuple[str, Any]:
    """A key of another architecture or of transformers' base class, with a value that may change the model."""
    others = {key: values for other in SPACES if other is not space for key, values in other.choices.items()}
    known = transformers.AutoConfig.for_model(space.name).to_dict()
    flags = {key: (not value,) for key, value in known.items() if isinstance(value, bool)}
    numbers = {key: (value * 2,) for key, value in known.items() if type(value) is float and value}
    pool = {k: v for k, v in {**others, **flags, **numbers}.items() if k not in space.base and k not in _NOT_STRAY}
    key = rng.choice(sorted(pool))
    value = rng.choice(pool[key])
    return key, None if value is MISSING else value


_NOT_STRAY = ("is_encoder_decoder", "return_dict", "torchscript", "output_attentions", "output_hidden_states")
"""Keys that change what transformers returns and not what it computes."""


def reference(config: Config, seed: int, auto: str = "AutoModelForCausalLM") -> Any:
    """Transformers' model of a ``config.json``, with random weights; raises whatever it raises for what it refuses."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        built = transformers.AutoConfig.for_model(**copy.deepcopy(config))
        model = getattr(transformers, auto).from_config(built, attn_implementation="eager").eval().float()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in sorted(model.named_parameters()):
            spread = 0.2 if parameter.dim() > 1 else 0.3
            offset = (
                1.0 if parameter.dim() == 1 and "norm" in name.lower() and "gemma" not in config["model_type"] else 0.0
            )
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * spread + offset)
    return model


def save(config: Config, model: Any, folder: Path) -> None:
    """The checkpoint: ``config.json`` as drawn, and the weights."""
    (folder / "config.json").write_text(json.dumps(config))
    tensors = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    if model.config.tie_word_embeddings:
        tensors.pop("lm_head.weight", None)
    if "shared.weight" in tensors:  # T5's table, which both halves have
        tensors = {name: tensor for name, tensor in tensors.items() if "embed_tokens" not in name}
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})


@dataclass(frozen=True)
class Outcome:
    """What became of one configuration.

    Attributes:
        config: as drawn.
        refused: the error's message; None where it was taken.
        error: largest difference of logits, over the largest logit; of everything that was compared.
        tokens: True if greedy tokens agree.
    """

    config: Config
    refused: str | None = None
    error: float = 0.0
    tokens: bool = True

    @property
    def right(self) -> bool:
        """True if it was refused or computes the same."""
        return self.refused is not None or (self.error < 1e-3 and self.tokens)


def valid(space: Space, rng: random.Random, seed: int) -> tuple[Config, Any]:
    """A configuration that transformers takes and whose logits are numbers, and its model."""
    while True:
        config = draw(space, rng)
        try:
            model = reference(config, seed, space.auto)
            if torch.isfinite(outputs(model, [1] * TOKENS)).all():
                return config, model
        except Exception:  # whatever it raises for what makes no sense
            continue


def outputs(model: Any, tokens: list[int]) -> torch.Tensor:
    """Transformers' logits ``[T, V]`` of a text, or vectors ``[T, D]``; an encoder-decoder reads its first half and
    answers with the last."""
    ids = torch.tensor([tokens])
    with torch.no_grad():
        if model.config.model_type == "bert":
            return model(ids, attention_mask=torch.ones_like(ids)).last_hidden_state[0]
        if model.config.model_type == "t5":
            answer = torch.tensor([[model.config.decoder_start_token_id or 0, *tokens[TOKENS // 2 :]]])
            return model(ids[:, : TOKENS // 2], decoder_input_ids=answer).logits[0]
        return model(ids, use_cache=False).logits[0]


def compare(space: Space, config: Config, model: Any, folder: Path, *, exported: bool) -> Outcome:
    """Give a configuration and its weights to edgegen and to transformers.

    Args:
        space: of the configuration.
        config: as drawn.
        model: transformers', see :func:`reference`.
        folder: empty, for the checkpoint.
        exported: make a file too and run it.
    """
    save(config, model, folder)
    family = registry().family(space.family)
    tokens = np.random.default_rng(len(json.dumps(config))).integers(3, model.config.vocab_size, TOKENS).tolist()
    expected = outputs(model, tokens)
    try:
        checkpoint = open_checkpoint(folder)
        read = config_for_context(family, stated_config(checkpoint, family), TOKENS)
        empty = empty_model(family, read, {})
        weights = resolve_weights(checkpoint, family, read, parameter_shapes(empty), space.name)
    except EdgegenError as error:
        return Outcome(config, refused=f"{error.code} {error.message.replace(str(folder), 'DIR')} {error.details[:1]}")
    ours = fill(load(family.builder)(read, layers={}), weights)
    scale = float(expected.abs().max())
    run = {"feature-extraction": _vectors, "text2text-generation": _answers}.get(family.task, _logits)
    found = list(run(ours, tokens, folder if exported else None))
    errors = [float((logits - expected[-len(logits) :]).abs().max()) / scale for logits in found]
    # Where the best two are as good as equal, either may be named.
    best = expected.topk(2).values
    clear = (best[:, 0] - best[:, 1]) > 1e-4 * scale
    same = all(
        torch.equal(
            logits.argmax(-1)[clear[-len(logits) :]], expected.argmax(-1)[-len(logits) :][clear[-len(logits) :]]
        )
        for logits in found
    )
    return Outcome(config, error=max(errors) if np.isfinite(errors).all() else float("inf"), tokens=same)


def _logits(model: Any, tokens: list[int], folder: Path | None) -> Iterator[torch.Tensor]:
    """A decoder's, of the last tokens or of all."""
    ids, positions = torch.tensor([tokens], dtype=torch.int32), torch.arange(TOKENS, dtype=torch.int32)
    yield model(ids, positions, model.new_cache(TOKENS))["logits"][0]
    yield torch.stack(list(_stepwise(model, tokens)))
    if folder is not None:
        yield torch.from_numpy(_in_file(model, tokens, folder))


def _padded(tokens: list[int], length: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Ids and mask ``[1, length]``; the padding is a token that means something."""
    ids = torch.tensor([[*tokens, *[7] * (length - len(tokens))]], dtype=torch.int32)
    return ids, (torch.arange(length)[None] < len(tokens)).to(torch.int32)


def _vectors(model: Any, tokens: list[int], folder: Path | None) -> Iterator[torch.Tensor]:
    """An encoder's, alone and padded."""
    longest = min(TOKENS + 9, model.config.max_position_embeddings)
    for length in (TOKENS, longest):
        yield model(*_padded(tokens, length))["token_vectors"][0, :TOKENS]
    if folder is not None:
        edge = Converter(model.signatures([longest])).convert()
        yield edge(*_padded(tokens, longest), signature=f"encode_{longest}")["token_vectors"][0, :TOKENS]


def _answers(model: Any, tokens: list[int], folder: Path | None) -> Iterator[torch.Tensor]:
    """An encoder-decoder's logits of the answer: at once, token by token, and in a file, the source padded."""
    source, answer = tokens[: TOKENS // 2], [model.config.decoder_start_token_id, *tokens[TOKENS // 2 :]]
    steps = [slice(None), *(slice(at, at + 1) for at in range(len(answer)))]
    ids, positions = torch.tensor([answer], dtype=torch.int32), torch.arange(len(answer), dtype=torch.int32)
    padded = _padded(source, len(source) + 9)
    states = model(*padded)["encoder_states"]
    for pieces in (steps[:1], steps[1:]):
        cache, found = model.new_cache(TOKENS), []
        for at in pieces:
            result = model(ids[:, at], input_pos=positions[at], kv_cache=cache, encoder_states=states)
            cache = result["kv_cache"]
            found.append(result["logits"][0])
        yield torch.cat(found)
    if folder is not None:
        length = padded[0].shape[1]
        session = Session(
            Converter(model.signatures([length], [], TOKENS)).convert().export(folder / "model.tflite"), threads=1
        )
        text = session.run(f"encode_{length}", {"tokens": padded[0].numpy(), "attention_mask": padded[1].numpy()})
        state, found = session.new_state(("decode",), session.set_static_inputs("decode", text)), []
        for at, token in enumerate(answer):
            inputs = {"tokens": np.array([[token]], np.int32), "input_pos": np.array([at], np.int32)}
            found.append(torch.from_numpy(session.run("decode", inputs, state)["logits"][0]))
        yield torch.cat(found)


def _stepwise(model: Any, tokens: list[int]) -> Iterator[torch.Tensor]:
    """Logits after a prefill of 5 tokens and then each token."""
    cache, start = model.new_cache(TOKENS), 0
    for stop in (5, *range(6, TOKENS + 1)):
        piece = torch.tensor([tokens[start:stop]], dtype=torch.int32)
        outputs = model(piece, torch.arange(start, stop, dtype=torch.int32), cache)
        cache, start = outputs["kv_cache"], stop
        if stop > 5:
            yield outputs["logits"][0, -1]


def _in_file(model: Any, tokens: list[int], folder: Path) -> Any:
    """Logits of the exported file for every token after a prefill of 8."""
    edge = Converter(model.signatures([8], TOKENS)).convert()
    session = Session(edge.export(folder / "model.tflite"), threads=1)
    state = session.new_state()

    def run(signature: str, start: int, stop: int) -> dict[str, Any]:
        inputs = {
            "tokens": np.array([tokens[start:stop]], np.int32),
            "input_pos": np.arange(start, stop, dtype=np.int32),
        }
        return session.run(signature, inputs, state)

    run("prefill_8", 0, 8)
    return np.stack([run("decode", at, at + 1)["logits"][0, 0] for at in range(8, TOKENS)])
