"""A ChatML fine-tune of a base model, whose files name the base model's end token alone: an answer ends with the turn.

Its weights continue each token with a fixed one: a line break with "Ok", that with the end of the turn, and that with
a text that never ends.
"""

from __future__ import annotations

import json

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

import edgegen_runtime
from edgegen_bundles.litertlm.inspect import llm_metadata
from edgegen_bundles.mediapipe.task_reader import read_task
from edgegen_serve import create_app

SPECIAL = ["<s>", "</s>", "<|im_start|>", "<|im_end|>"]
TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
CHAIN = {"\n": "O", "O": "k", "k": "<|im_end|>", "<|im_end|>": "!", "!": "!"}
MESSAGES = [{"role": "user", "content": "Hi"}]


@pytest.fixture(scope="module")
def fine_tune(tmp_path_factory):
    from transformers import LlamaConfig, LlamaForCausalLM

    folder = tmp_path_factory.mktemp("fine-tune")
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE(vocab={text: i for i, text in enumerate([*SPECIAL, *alphabet])}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(SPECIAL)
    tokenizer.save(str(folder / "tokenizer.json"))
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=320, hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=64, rms_norm_eps=1e-5, tie_word_embeddings=False, bos_token_id=0,
        eos_token_id=1,
    )  # fmt: skip
    model = LlamaForCausalLM(config)
    with torch.no_grad():
        for block in model.model.layers:
            block.self_attn.o_proj.weight.zero_()
            block.mlp.down_proj.weight.zero_()
        embeddings = torch.nn.functional.normalize(torch.randn(320, 64))
        model.model.embed_tokens.weight.copy_(embeddings)
        model.lm_head.weight.zero_()
        for text, following in CHAIN.items():
            (before,), (after,) = (tokenizer.encode(each, add_special_tokens=False).ids for each in (text, following))
            model.lm_head.weight[after] += embeddings[before]
    model.save_pretrained(folder)
    (folder / "generation_config.json").write_text(json.dumps({"bos_token_id": 0, "eos_token_id": 1}))
    settings = {"bos_token": "<s>", "eos_token": "</s>", "chat_template": TEMPLATE}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    return folder


@pytest.fixture(scope="module")
def exported(edgegen, fine_tune, tmp_path_factory):
    def export(target):
        folder = tmp_path_factory.mktemp(target) / "out"
        result = edgegen(
            "export", "llama", "--checkpoint", fine_tune, "-o", folder, "--prefill-lengths", 8, "--cache-length", 64,
            "--target", target, "--scheme", "fp32",
        )  # fmt: skip
        assert result.code == 0, result.err
        return folder

    return export


def test_the_command_and_the_library(edgegen, exported):
    folder = exported("tflite")
    assert edgegen("run", folder, "--prompt", "Hi", "--max-new-tokens", 20).out.strip() == "Ok"
    assert (
        edgegen("run", folder, "--prompt", "Hi", "--max-new-tokens", 20, "--ignore-eos").out.strip() == "Ok" + "!" * 17
    )
    model = edgegen_runtime.load(folder)
    assert "".join(model.chat(MESSAGES, max_new_tokens=20).text()) == "Ok"
    assert set(model.stop_ids) == {1, 3}


def test_the_server(exported):
    from starlette.testclient import TestClient

    with TestClient(create_app(edgegen_runtime.load(exported("tflite"))), "http://localhost") as client:
        name = client.get("/v1/models").json()["data"][0]["id"]
        request = {"model": name, "messages": MESSAGES, "max_tokens": 20, "temperature": 0}
        answer = client.post("/v1/chat/completions", json=request).json()
    assert answer["choices"][0]["message"]["content"] == "Ok"
    assert answer["choices"][0]["finish_reason"] == "stop"


def stops(metadata):
    """Token ids that end an answer."""
    return sorted(list(stop.token_ids.ids) for stop in metadata.stop_tokens)


def test_a_litertlm_bundle(exported):
    (bundle,) = exported("litertlm").glob("*.litertlm")
    assert stops(llm_metadata(bundle)) == [[1], [3]]


def test_a_task_bundle(exported):
    (bundle,) = exported("task").glob("*.task")
    assert stops(read_task(bundle).metadata) == [[1], [3]]
