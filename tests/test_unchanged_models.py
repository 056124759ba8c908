"""Models that others have written, in plain PyTorch, go through ``edgegen.convert(module, args)`` as they are."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F
from weights import minilm

import edgegen

SENTENCES = ["A cat sits on the mat.", "A kitten rests on a rug.", "Stocks fell sharply after the report on Tuesday."]


@pytest.mark.real_weights
@torch.no_grad()
@pytest.mark.parametrize(("scheme", "agreement"), [("fp32", 0.9999), ("int8-channel", 0.99)])
def test_transformers_bert_with_minilms_weights_embeds_as_eager_does(scheme, agreement):
    from transformers import AutoTokenizer, BertModel

    model = BertModel.from_pretrained(minilm()).eval()
    read = AutoTokenizer.from_pretrained(minilm())(SENTENCES, padding="max_length", max_length=24, return_tensors="pt")
    inputs = (read["input_ids"], read["attention_mask"])
    edge = edgegen.convert(model, inputs, scheme=scheme)

    def embedded(vectors: torch.Tensor) -> torch.Tensor:
        kept = inputs[1][:, :, None].float()
        return F.normalize((vectors * kept).sum(1) / kept.sum(1))

    ours, theirs = embedded(edge(*inputs)["last_hidden_state"]), embedded(model(*inputs).last_hidden_state)
    assert (ours * theirs).sum(1).min() >= agreement
    likeness = ours @ ours.T
    assert likeness[0, 1] > 0.5 > likeness[0, 2]


@torch.no_grad()
def test_transformers_t5_encoder_agrees_with_eager():
    from transformers import T5Config, T5EncoderModel

    torch.manual_seed(0)
    gated = {"feed_forward_proj": "gated-gelu"}
    for options in ({}, gated):
        model = T5EncoderModel(T5Config(vocab_size=200, d_model=64, d_kv=16, d_ff=128, num_layers=3, **options)).eval()
        tokens = torch.randint(0, 200, (2, 150))
        (got,) = edgegen.convert(model, (tokens,))(tokens).values()
        torch.testing.assert_close(got, model(tokens).last_hidden_state, atol=1e-4, rtol=1e-4)
