"""SmoothQuant: what an export with scaled channels holds, what it says of itself, and what it is good for."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from edgegen.cli.output import Output
from edgegen.export import ExportOptions, plan, run
from edgegen.litert.session import Session
from edgegen.plugins import load, registry
from edgegen.quantization.assign import plan_parameters
from edgegen.tflite.writer import write_model
from edgegen_quant.ptq.smoothquant_pass import SmoothQuantPass, chosen_groups, scale_channels

QUIET = Output(quiet=True)


@pytest.fixture(scope="module")
def outliers(checkpoint, tmp_path_factory):
    """The tiny checkpoint with a few channels 30 times as large as others, and their weights as much smaller."""
    from transformers import LlamaForCausalLM

    folder = tmp_path_factory.mktemp("outliers")
    model = LlamaForCausalLM.from_pretrained(checkpoint, dtype=torch.float32)
    with torch.no_grad():
        for layer in model.model.layers:
            attention, mlp = layer.self_attn, layer.mlp
            for norm, readers in (
                (layer.input_layernorm, (attention.q_proj, attention.k_proj, attention.v_proj)),
                (layer.post_attention_layernorm, (mlp.gate_proj, mlp.up_proj)),
            ):
                norm.weight[::31] *= 30
                for reader in readers:
                    reader.weight[:, ::31] /= 30
            mlp.up_proj.weight[::47] *= 30
            mlp.down_proj.weight[:, ::47] /= 30
            attention.v_proj.weight[::16] *= 30  # the first channel of each head
            attention.o_proj.weight[:, ::16] /= 30
    model.save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (folder / name).write_bytes((checkpoint / name).read_bytes())
    return folder


@pytest.fixture
def options(outliers, tiny_family, tmp_path):
    return ExportOptions(
        variant="tiny-100k",
        checkpoint=outliers,
        output=tmp_path / "tiny",
        scheme="int8-channel",
        prefill_lengths=(4,),
        cache_length=48,
        cache_buckets=(),
    )


def logits(path) -> np.ndarray:
    session = Session(path)
    state = session.new_state()
    steps = [
        session.run("decode", {"tokens": np.array([[token]], np.int32), "input_pos": np.array([at], np.int32)}, state)
        for at, token in enumerate([3, 1, 4, 1, 5, 9, 2, 6])
    ]
    return np.stack([step["logits"][0, 0] for step in steps])


def groups(planned):
    """The scaling groups that the pass scales; none where it does not run."""
    return chosen_groups(planned.pass_context) if "smoothquant" in [each.name for each in planned.passes] else []


def scaled_weights(context):
    return scale_channels(context, chosen_groups(context), context.weights)


def test_in_floats_nothing_changes(options, tmp_path):
    planned = plan(options, QUIET)
    assert len(groups(planned)) == 9
    scheme = load(registry().scheme("fp32").scheme)
    sources, done = scaled_weights(planned.pass_context)
    for name, weights in {"plain": planned.weights, "scaled": sources}.items():
        write_model(planned.program, plan_parameters(planned.program, weights, scheme), scheme, tmp_path / name)
    plain, scaled = logits(tmp_path / "plain"), logits(tmp_path / "scaled")
    np.testing.assert_allclose(scaled, plain, rtol=1e-5, atol=1e-5 * np.abs(plain).max())
    changed = {name for name in sources if not np.allclose(sources[name].read(), planned.weights[name].read())}
    assert len(changed) == sum(done.scaled.values()) == 15


@pytest.mark.parametrize(("scheme", "gain"), [("int8-channel", 3), ("int4-block32", 1.2)])
def test_outliers_cost_less(options, scheme, gain):
    def export(name, **changes):
        changed = replace(options, output=options.output.with_name(name), verify=False, **changes)
        return run(plan(changed, QUIET), QUIET).output

    plain = export("plain", scheme=scheme, weight_passes={"smoothquant": False})
    scaled = export("scaled", scheme=scheme)
    exact = export("exact", scheme="fp32")
    expected = logits(exact / "model.tflite")
    errors = [np.linalg.norm(logits(folder / "model.tflite") - expected) for folder in (plain, scaled)]
    assert errors[1] < errors[0] / gain


def test_the_recipe_says_so_and_repeats_it(options):
    folder = run(plan(options, QUIET), QUIET).output
    document = json.loads((folder / "export.json").read_text())
    assert document["options"]["weight_passes"]["smoothquant"] is True
    assert document["passes"]["smoothquant"]["transforms_weights"] is True
    report = document["passes"]["smoothquant"]["report"]
    assert (report["text"], report["tokens"]) == ("built-in", 64)
    assert report["scaled"]["blocks.*.feed_forward.down.weight"] == 2
    again = run(plan(replace(options, output=options.output.with_name("again")), QUIET), QUIET).output
    assert (again / "model.tflite").read_bytes() == (folder / "model.tflite").read_bytes()


def test_without_a_tokenizer_random_tokens_are_read(options):
    context = replace(plan(options, QUIET).pass_context, tokenizer=None)
    sources, done = scaled_weights(context)
    assert done.text == "random"
    assert not np.allclose(sources["embedding.weight"].read(), context.weights["embedding.weight"].read())


def test_a_text_for_calibration_is_read_instead(options, tmp_path):
    text = tmp_path / "text.txt"
    text.write_text("A hare and a tortoise ran. " * 40)
    planned = plan(replace(options, calibration=text), QUIET)
    _, done = scaled_weights(planned.pass_context)
    assert done.text == "calibration"
    run(planned, QUIET)


@pytest.mark.parametrize(
    ("scheme", "count"),
    [
        ("fp32", 0),
        ("int8-weight-only", 0),
        ("int4-channel", 0),
        ("int4-block32", 9),
        ("embedding=fp16,*=int8-channel", 8),
        ("embedding=int8-channel,*=int4-channel", 0),
    ],
)
def test_channels_are_scaled_where_it_pays(options, scheme, count):
    planned = plan(replace(options, scheme=scheme), QUIET)
    scaled = groups(planned)
    assert len(scaled) == count
    assert ("embedding_scales" in planned.weights) == any("embedding.weight" in each.consumers for each in scaled)


def test_rows_of_few_bits_are_scaled_if_asked_for(options):
    planned = plan(replace(options, scheme="int4-channel", weight_passes={"smoothquant": True}), QUIET)
    assert len(chosen_groups(replace(planned.pass_context, enabled=True))) == 9
    assert SmoothQuantPass().plan(planned.pass_context) is None
    run(planned, QUIET)


def test_what_adapters_touch_at_run_time_stays(options, checkpoint):
    planned = plan(replace(options, checkpoint=checkpoint, lora_rank=4), QUIET)
    consumers = {name for group in groups(planned) for name in group.consumers}
    assert consumers == {
        "embedding.weight",
        *(f"blocks.{block}.feed_forward.{matrix}.weight" for block in range(2) for matrix in ("gate_up", "down")),
    }
    run(planned, QUIET)  # which verifies it with an adapter


def test_what_cannot_be_scaled_is_refused_if_asked_for(edgegen, minilm, tmp_path):
    result = edgegen(
        "export", "all-minilm-l6-v2", "--checkpoint", minilm, "-o", tmp_path / "x", "--weight-pass", "smoothquant",
        "--scheme", "int8-channel",
    )  # fmt: skip
    assert result.code == 2
    assert "nothing of all-minilm-l6-v2 can be scaled" in result.err.replace("\n", " ")
    assert not (tmp_path / "x").exists()
