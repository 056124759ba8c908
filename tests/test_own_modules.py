"""A family whose module knows of edgegen.modeling alone: attention or a recurrent state, in plain PyTorch.

Right is what the module itself gives in eager mode for the whole text."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from edgegen.errors import UsageError
from edgegen.testing.plugins import installed, make_distribution
from edgegen_runtime import LanguageModel
from edgegen_runtime.generation.speculative import PromptLookup

PLUGIN = """
from edgegen import hookimpl
from edgegen.descriptors import ModelFamily, Variant

@hookimpl
def edgegen_model_families():
    yield ModelFamily(
        name="own", summary="plain modules", config="own_module:config", builder="own_module:build",
        variants=tuple(
            Variant(name=f"own-{kind}", parameters=count, context_length=64, source="nowhere/own", license="mit")
            for kind, count in (
                ("attention", 24_576),
                *((kind, 21_504) for kind in ("recurrent", "undeclared", "short", "silent")),
            )
        ),
        weight_maps={"huggingface": "own_module:weights"},
    )
"""
MODULE = """
from dataclasses import dataclass

import torch
from torch import nn

from edgegen.tracing import Signature, dynamic_update_slice
from edgegen.weights import WeightMap


@dataclass(frozen=True, kw_only=True)
class Config:
    kind: str
    vocab_size: int = 320
    max_position_embeddings: int = 64


def config(name):
    return Config(kind=name.removeprefix("own-"))


class Own(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.config = config
        self.embedding = nn.Embedding(320, 32)
        names = ("q", "k", "v", "out") if config.kind == "attention" else ("write",)
        self.projections = nn.ModuleDict({name: nn.Linear(32, 32, bias=False) for name in names})
        self.head = nn.Linear(32, 320, bias=False)

    def new_cache(self, length, device=None):
        device = device or self.head.weight.device
        if self.config.kind == "attention":
            return {name: torch.zeros(1, length, 32, device=device) for name in "kv"}
        return {"state": torch.zeros(1, 1, 32, device=device)}

    def forward(self, tokens, input_pos, kv_cache, all_logits=True):
        x = self.embedding(tokens)
        mix = self._attend if self.config.kind == "attention" else self._recur
        mixed, kv_cache = mix(x, input_pos, kv_cache)
        result = {"kv_cache": kv_cache}
        if all_logits and self.config.kind != "silent":
            result["logits"] = self.head(x + mixed)[..., : 319 if self.config.kind == "short" else 320]
        return result

    def _attend(self, x, positions, cache):
        q, k, v = (self.projections[name](x) for name in "qkv")
        k = dynamic_update_slice(cache["k"], k, positions[:1], 1)
        v = dynamic_update_slice(cache["v"], v, positions[:1], 1)
        slots = torch.arange(k.shape[1], device=x.device, dtype=torch.int32)
        hidden = torch.clamp(slots[None].float() - positions[:, None].float(), 0, 1)
        scores = (q @ k.transpose(1, 2)) * 32**-0.5 - 1e9 * hidden
        return self.projections["out"](scores.softmax(-1) @ v), {"k": k, "v": v}

    def _recur(self, x, positions, cache):
        state, states = cache["state"], []
        for index in range(x.shape[1]):
            state = torch.tanh(0.9 * state + self.projections["write"](x[:, index : index + 1]))
            states.append(state)
        return torch.cat(states, 1), {"state": state}

    def signatures(self, prefill_lengths, cache_length, cache_buckets=(), verify_lengths=()):
        device = self.head.weight.device

        def signature(name, length, logits):
            args = (
                torch.zeros(1, length, dtype=torch.int32, device=device),
                torch.arange(length, dtype=torch.int32, device=device),
                self.new_cache(cache_length),
            )
            return Signature(name, self, args, {"all_logits": logits})

        return [
            *(signature(f"prefill_{n}", n, False) for n in prefill_lengths),
            *(signature(f"verify_{n}", n, True) for n in verify_lengths),
            signature("decode", 1, True),
        ]


class Recurrent(Own):
    def max_rollback(self, cache_length):
        return 0


def build(config, *, layers):
    return (Recurrent if config.kind == "recurrent" else Own)(config)


def weights(config):
    names = ["embedding.weight", "head.weight"]
    names += [f"projections.{n}.weight" for n in (("q", "k", "v", "out") if config.kind == "attention" else ("write",))]
    return WeightMap({name: name for name in names})
"""


@pytest.fixture(scope="module", autouse=True)
def own_module(tmp_path_factory):
    folder = tmp_path_factory.mktemp("plugins")
    make_distribution(folder, "edgegen-own", PLUGIN, files={"own_module.py": MODULE})
    with installed(folder):
        import own_module

        yield own_module


@pytest.fixture(scope="module")
def model_of(own_module, tmp_path_factory):
    """``(kind) -> module, checkpoint``: random weights, large enough that a wrong state shows."""
    from safetensors.torch import save_file

    def make(kind: str):
        torch.manual_seed(3)
        module = own_module.build(own_module.config(f"own-{kind}"), layers={}).eval()
        for parameter in module.parameters():
            torch.nn.init.normal_(parameter, std=0.4)
        folder = tmp_path_factory.mktemp(kind)
        save_file({name: tensor.detach() for name, tensor in module.state_dict().items()}, folder / "model.safetensors")
        return module, folder

    return make


def export(edgegen, kind: str, checkpoint: Path, output: Path, *options: str):
    lengths = ("--prefill-lengths", "8", "--verify-lengths", "8", "--cache-length", "64")
    return edgegen(
        "export", f"own-{kind}", "--checkpoint", checkpoint, "-o", output, "--scheme", "fp32", *lengths, *options
    )


@torch.no_grad()
def greedy(module, prompt: list[int], count: int) -> list[int]:
    """The module's greedy answer, reading the whole text for each token."""
    text = list(prompt)
    for _ in range(count):
        ids, positions = torch.tensor([text]), torch.arange(len(text))
        text.append(int(module(ids, positions, module.new_cache(64))["logits"][0, -1].argmax()))
    return text[len(prompt) :]


PROMPTS = [[5, 7, 5, 7, 5], list(range(20, 33)), [9] * 8 + [4], [3, 1, 4, 1, 5, 9, 2, 6] * 6 + [3, 1]]


@pytest.mark.parametrize("kind", ["attention", "recurrent"])
def test_prompts_of_any_length_are_continued_as_the_module_does(kind, edgegen, model_of, tmp_path):
    module, checkpoint = model_of(kind)
    result = export(edgegen, kind, checkpoint, tmp_path / "out")
    assert result.code == 0, result.err
    assert "report it to the plugin" not in result.err
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert manifest.get("max_rollback_tokens") == (0 if kind == "recurrent" else None)
    model = LanguageModel.load(tmp_path / "out")
    for prompt in [*PROMPTS, PROMPTS[0]]:  # the last one on a cache that has been used
        assert list(model.generate(prompt, max_new_tokens=12, ignore_eos=True)) == greedy(module, prompt, 12)
    scores = model.score(PROMPTS[1])
    with torch.no_grad():
        ids = torch.tensor([PROMPTS[1]])
        expected = module(ids, torch.arange(13), module.new_cache(64))["logits"][0].log_softmax(-1)[:-1]
    wanted = expected.gather(1, ids[0, 1:, None])[:, 0]
    torch.testing.assert_close(torch.tensor(scores), wanted, atol=1e-4, rtol=1e-4)


def test_a_conversation_whose_end_changes_is_read_again_from_where_it_can_be(edgegen, model_of, tmp_path):
    module, checkpoint = model_of("recurrent")
    assert export(edgegen, "recurrent", checkpoint, tmp_path / "out").code == 0
    model = LanguageModel.load(tmp_path / "out")
    cache = model.new_cache()
    first = list(range(40, 51))
    for prompt in (first, [*first, 8, 9], [*first[:6], 77, 78], first[:3]):
        assert list(model.generate(prompt, max_new_tokens=6, ignore_eos=True, cache=cache)) == greedy(module, prompt, 6)


def test_drafts_need_a_cache_that_forgets(edgegen, model_of, tmp_path):
    module, checkpoint = model_of("attention")
    assert export(edgegen, "attention", checkpoint, tmp_path / "plain").code == 0
    model, prompt = LanguageModel.load(tmp_path / "plain"), [5, 7, 9, 5, 7, 9, 5, 7]
    generation = model.generate(prompt, max_new_tokens=20, ignore_eos=True, drafter=PromptLookup(shortest=1))
    assert list(generation) == greedy(module, prompt, 20)
    assert generation.timings.drafted_tokens

    _, checkpoint = model_of("recurrent")
    assert export(edgegen, "recurrent", checkpoint, tmp_path / "recurrent").code == 0
    with pytest.raises(UsageError, match="cannot drop what was drafted in vain"):
        LanguageModel.load(tmp_path / "recurrent").generate(prompt, drafter=PromptLookup())


def test_a_recurrent_state_that_does_not_say_so_is_refused(edgegen, model_of, tmp_path):
    _, checkpoint = model_of("undeclared")
    result = export(edgegen, "undeclared", checkpoint, tmp_path / "out")
    assert result.code == 5
    assert "prefill error" in result.err
    assert "max_rollback" in result.err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("target", ["litertlm", "task"])
def test_a_client_that_pads_is_refused(target, edgegen, model_of, tmp_path):
    _, checkpoint = model_of("recurrent")
    result = export(edgegen, "recurrent", checkpoint, tmp_path / "out", "--target", target)
    assert result.code != 0
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("kind", "says"), [("short", "logits of shape [1, 1, 319]"), ("silent", "no logits")])
def test_logits_of_another_vocabulary_are_refused(kind, says, edgegen, model_of, tmp_path):
    _, checkpoint = model_of(kind)
    result = export(edgegen, kind, checkpoint, tmp_path / "out")
    assert result.code == 2
    assert says in result.err
    assert not (tmp_path / "out").exists()
