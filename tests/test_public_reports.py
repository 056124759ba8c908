"""Public reports of people who convert models, rebuilt in small; the table is docs/explanation/reports.md.

Right is what eager PyTorch, transformers or peft give."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from torch import nn

import edgegen
from edgegen.adapters.peft import with_adapter
from edgegen.errors import UnsupportedError
from edgegen.weights import open_checkpoint
from edgegen_layers.testing import random_model
from edgegen_runtime import LanguageModel

TABLE = Path(__file__).parent.parent / "docs" / "explanation" / "reports.md"


def module(function) -> nn.Module:
    class Reported(nn.Module):
        def forward(self, *args):
            return function(*args)

    return Reported().eval()


def assert_right(function, *inputs):
    expected = function(*(each.clone() for each in inputs))
    got = edgegen.convert(module(function), inputs)(*inputs)
    outputs = expected if isinstance(expected, tuple) else (expected,)
    for one, other in zip(got.values(), outputs, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-4)


def test_an_indexed_assignment_by_a_tensor():
    def place(x, position, value):
        y = x.clone()
        y[:, position] = value
        return y

    assert_right(place, torch.rand(2, 2), torch.tensor([1]), torch.tensor([5.0]))


def test_an_assignment_to_a_slice():
    def sigmoid_of_a_part(x):
        y = torch.sigmoid(x)
        y[:, 0:2] = torch.sigmoid(y[:, 0:2])
        return y

    assert_right(sigmoid_of_a_part, torch.randn(1, 4, 3, 3))


def test_boxes_of_a_detector_decoded_in_place():
    grid, anchors = torch.rand(1, 2, 3, 3, 2), torch.rand(1, 2, 1, 1, 2) * 9

    def decode(x):
        y = x.view(1, 2, 6, 3, 3).permute(0, 1, 3, 4, 2).contiguous().sigmoid()
        y[..., 0:2] = (y[..., 0:2] * 2 - 0.5 + grid) * 8
        y[..., 2:4] = (y[..., 2:4] * 2) ** 2 * anchors
        return y.view(1, -1, 6)

    assert_right(decode, torch.randn(1, 12, 3, 3))


@pytest.mark.filterwarnings("error::UserWarning")
def test_an_assignment_to_an_input_that_is_returned():
    def assign(indices, target, values):
        target[:, indices] = values
        return target

    inputs = (torch.tensor([0, 2, 4]), torch.randn(5, 6), torch.randn(5, 3))
    before = inputs[1].clone()
    assert_right(assign, *inputs)
    assert torch.equal(inputs[1], before)


def test_places_of_largest_numbers_as_indices():
    def largest(x):
        return torch.gather(x, 1, x.max(dim=1).indices.unsqueeze(1))

    assert_right(largest, torch.randn(1, 3, 8, 8))


def test_slices_as_long_as_a_tensor_says():
    def reversed_texts(padded, lengths):
        return nn.utils.rnn.pad_sequence([row[:n].flip(0) for row, n in zip(padded, lengths, strict=True)], True, -1.0)

    with pytest.raises(UnsupportedError, match="cannot trace") as caught:
        edgegen.convert(module(reversed_texts), (torch.ones(3, 4), torch.tensor([4, 3, 2])))
    assert "control flow on tensor values" in str(caught.value.hint)


def test_complex_rotary_positions():
    positions = torch.polar(torch.ones(4, 3), torch.arange(12.0).view(4, 3))

    def rotate(x):
        return torch.view_as_real(torch.view_as_complex(x.view(4, 3, 2)) * positions).flatten(1)

    with pytest.raises(UnsupportedError, match="no tensor of torch") as caught:
        edgegen.convert(module(rotate), (torch.randn(4, 6),))
    assert "real and imaginary parts" in str(caught.value.hint)


def test_batch_norms_that_are_still_training():
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU())
    image = torch.rand(2, 3, 8, 8)
    with pytest.raises(UnsupportedError) as caught:
        edgegen.convert(net.train(), (image,))
    assert "model.eval()" in str(caught.value.hint)
    assert not net[1].num_batches_tracked
    torch.testing.assert_close(edgegen.convert(net.eval(), (image,))(image)["output"], net(image), atol=1e-5, rtol=1e-4)


GEMMA3 = {
    "vocab_size": 99, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 7, "num_attention_heads": 4,
    "num_key_value_heads": 1, "head_dim": 16, "sliding_window": 8, "max_position_embeddings": 64,
}  # fmt: skip


def gemma3(folder: Path, **changes):
    config = transformers.Gemma3TextConfig(**{**GEMMA3, **changes})
    model = random_model(transformers.Gemma3ForCausalLM(config)).eval()
    model.save_pretrained(folder)
    return model


def export(edgegen, family, checkpoint, output, *options):
    lengths = ("--prefill-lengths", 8, "--cache-length", 48, "--scheme", "fp32")
    return edgegen("export", family, "--checkpoint", checkpoint, "-o", output, *lengths, *options)


def test_a_fine_tuned_gemma_3_says_what_it_says_in_pytorch(edgegen, tmp_path):
    model = gemma3(tmp_path / "model")
    result = export(edgegen, "gemma", tmp_path / "model", tmp_path / "out")
    assert result.code == 0, result.err
    prompt = np.random.default_rng(0).integers(3, 99, 20).tolist()
    answer = list(LanguageModel.load(tmp_path / "out").generate(prompt, max_new_tokens=12, ignore_eos=True))
    expected = model.generate(
        torch.tensor([prompt]), max_new_tokens=12, min_new_tokens=12, do_sample=False, pad_token_id=0
    )  # fmt: skip
    assert answer == expected[0, 20:].tolist()


def test_a_gemma_3_that_reads_both_ways_is_no_decoder(edgegen, tmp_path):
    gemma3(tmp_path / "model", use_bidirectional_attention=True)
    result = export(edgegen, "gemma", tmp_path / "model", tmp_path / "out")
    assert result.code == 4
    assert "use_bidirectional_attention" in result.err
    assert not (tmp_path / "out").exists()


def test_a_fused_gemma_3_that_carries_a_head_of_its_own(edgegen, tmp_path):
    from safetensors.torch import load_file, save_file

    model = gemma3(tmp_path / "model")
    file = tmp_path / "model" / "model.safetensors"
    tensors = load_file(file)
    tensors["lm_head.weight"] = tensors["model.embed_tokens.weight"].clone()
    save_file(tensors, file, {"format": "pt"})
    assert model.config.tie_word_embeddings
    result = export(edgegen, "gemma", tmp_path / "model", tmp_path / "out")
    assert result.code == 0, result.err
    assert (tmp_path / "out" / "model.tflite").stat().st_size < 2 * sum(t.nbytes for t in tensors.values())


def test_a_fine_tune_that_was_saved_in_8_bits(edgegen, checkpoint, tmp_path):
    from safetensors.torch import save_file

    save_file(
        {
            "model.layers.0.mlp.down_proj.weight": torch.zeros(64, 128, dtype=torch.int8),
            "model.layers.0.mlp.down_proj.SCB": torch.ones(64),
        },
        tmp_path / "model.safetensors",
    )
    config = json.loads((checkpoint / "config.json").read_text())
    config["quantization_config"] = {"quant_method": "bitsandbytes", "load_in_8bit": True}
    (tmp_path / "config.json").write_text(json.dumps(config))
    result = export(edgegen, "tiny", tmp_path, tmp_path / "out")
    assert result.code != 0
    assert "bitsandbytes" in result.err


def test_an_adapter_of_the_head_of_a_tied_model(checkpoint, tmp_path):
    import peft

    model = transformers.AutoModelForCausalLM.from_pretrained(checkpoint, dtype=torch.float32)
    with pytest.warns(UserWarning, match="tie_word_embeddings"):
        adapted = peft.get_peft_model(model, peft.LoraConfig(target_modules=["lm_head", "q_proj"], r=2))
    adapted.save_pretrained(tmp_path / "adapter")
    with pytest.raises(UnsupportedError, match="the model's table of tokens as well"):
        with_adapter(open_checkpoint(checkpoint), tmp_path / "adapter")


def test_every_row_of_the_table_names_a_test_that_exists():
    rows = re.findall(r"^\| \[.*\]\(https://github\.com/[^)]+\) \|.*`(tests/\w+\.py|packages/\S+\.py)::(\w+)` \|$",
                      TABLE.read_text(), re.MULTILINE)  # fmt: skip
    assert len(rows) >= 12
    root = TABLE.parent.parent.parent
    for file, test in rows:
        assert f"def {test}(" in (root / file).read_text(), (file, test)
