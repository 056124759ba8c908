"""The writer, the reader and the session: what is in a file, and what runs from it."""

from __future__ import annotations

import json

import flatbuffers
import numpy as np
import pytest
import torch
from ai_edge_litert import schema_py_generated as schema
from torch import nn

from edgegen.api import Converter
from edgegen.compile import build_program
from edgegen.errors import UsageError
from edgegen.graph import Program
from edgegen.litert.session import Session
from edgegen.lowering.aten import RULES
from edgegen.quantization.assign import plan_parameters
from edgegen.tflite.reader import read_model
from edgegen.tflite.writer import ALIGNMENT, Parameter, write_model
from edgegen.tracing import Signature, dynamic_update_slice
from edgegen.weights.module import module_weights
from edgegen.weights.storage import Encoded, Storage, Tolerance
from edgegen.weights.tensors import LazyTensor


class Plain:
    """float32, or int8 with a scale of 1 for everything, which loses the fractions."""

    tolerance = Tolerance(logits=0, top1=1)

    def __init__(self, dtype="float32"):
        self.dtype = dtype

    def storage(self, parameter):
        matrix = len(parameter.shape) == 2
        return Storage(self.dtype, per_channel=self.dtype == "int8") if matrix else Storage("float32")

    def encode(self, rows, storage):
        if storage.dtype == "int8":
            return Encoded(rows.astype(np.int8), np.ones(len(rows), np.float32))
        return Encoded(np.ascontiguousarray(rows, storage.dtype))


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(8, 16)
        with torch.no_grad():
            self.linear.weight.copy_(torch.arange(128).reshape(16, 8) - 64)

    def forward(self, x):
        return self.linear(x)


def write(path, model, signatures, scheme=None):
    scheme = scheme or Plain()
    program = build_program([Signature(n, model, args) for n, args in signatures.items()], rules=RULES)
    write_model(program, plan_parameters(program, module_weights(model), scheme), scheme, path)
    return program


@pytest.mark.parametrize("dtype", ["float32", "float16", "int8"])
def test_weights_reach_litert_in_every_storage(tmp_path, dtype):
    model, x = Model(), torch.rand(2, 8)
    write(tmp_path / "m.tflite", model, {"run": (x,)}, Plain(dtype))
    result = Session(tmp_path / "m.tflite").run("run", {"x": x.numpy()})["output"]
    expected = model(x).detach().numpy()
    np.testing.assert_allclose(
        result, expected, rtol=2e-2 if dtype == "int8" else 1e-5, atol=1.0 if dtype == "int8" else 1e-4
    )


def test_signatures_share_one_buffer_per_parameter(tmp_path):
    path = tmp_path / "m.tflite"
    write(path, Model(), {"one": (torch.ones(1, 8),), "four": (torch.ones(4, 8),)})
    summary = read_model(path)
    assert [s.name for s in summary.signatures] == ["one", "four"]
    assert summary.weight_tensors["float32"] == 2
    assert summary.shared == {"buffers": 2, "bytes": (128 + 16) * 4}


def test_scales_are_stored_once_however_many_signatures_there_are(tmp_path):
    sizes = []
    for count in (1, 5):
        path = tmp_path / f"{count}.tflite"
        program = write(path, Wide(), {f"s{i}": (torch.ones(i + 1, 4),) for i in range(count)}, Plain("int8"))
        assert len(program.signatures) == count
        sizes.append(read_model(path).head)
    assert sizes[1] - sizes[0] < 4 * 4096  # one more copy of the 4096 scales and zero points would be 49 kB


class Wide(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(4, 4096, bias=False)

    def forward(self, x):
        return self.linear(x)


def test_weights_are_aligned_and_outside_the_flatbuffer(tmp_path):
    path = tmp_path / "m.tflite"
    write(path, Model(), {"run": (torch.ones(1, 8),)})
    model = schema.Model.GetRootAs(path.read_bytes(), 0)
    offsets = [model.Buffers(i).Offset() for i in range(model.BuffersLength()) if model.Buffers(i).Offset()]
    assert len(offsets) == 2
    assert all(offset % ALIGNMENT == 0 for offset in offsets)


def test_the_same_inputs_give_the_same_bytes(tmp_path):
    model = Model()
    for name in ("a", "b"):
        write(tmp_path / name, model, {"run": (torch.ones(1, 8),)}, Plain("int8"))
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_a_failure_while_writing_leaves_nothing_behind(tmp_path):
    model = Model()
    program = build_program([Signature("run", model, (torch.ones(1, 8),))], rules=RULES)

    def broken(start, stop):
        raise OSError("disk on fire")

    source = LazyTensor("linear.weight", (16, 8), "F32", 512, broken)
    parameters = {
        "linear.weight": Parameter(source, Storage("float32")),
        "linear.bias": Parameter(module_weights(model)["linear.bias"], Storage("float32")),
    }
    with pytest.raises(OSError, match="disk on fire"):
        write_model(program, parameters, Plain(), tmp_path / "m.tflite")
    assert list(tmp_path.iterdir()) == []


def test_parameters_are_read_in_slices(tmp_path):
    read = []

    def rows(start, stop):
        read.append(stop - start)
        return np.zeros((stop - start, 1024), np.float32)

    class Big(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(1024, 4000, bias=False, device="meta")

        def forward(self, x):
            return self.linear(x)

    program = build_program([Signature("run", Big(), (torch.ones(1, 1024, device="meta"),))], rules=RULES)
    source = LazyTensor("linear.weight", (4000, 1024), "F32", 4000 * 4096, rows)
    write_model(program, {"linear.weight": Parameter(source, Storage("float32"))}, Plain(), tmp_path / "m.tflite")
    assert sum(read) == 4000
    assert max(read) <= 1024  # 4 MiB of float32


def test_progress_adds_up_to_the_weights(tmp_path):
    model, done = Model(), []
    program = build_program([Signature("run", model, (torch.ones(1, 8),))], rules=RULES)
    parameters = plan_parameters(program, module_weights(model), Plain())
    write_model(program, parameters, Plain(), tmp_path / "m.tflite", done.append)
    assert sum(done) == sum(parameter.nbytes for parameter in parameters.values())


def test_metadata_is_kept(tmp_path):
    model = Model()
    program = build_program([Signature("run", model, (torch.ones(1, 8),))], rules=RULES)
    program = Program(program.signatures, {"note": b"hello"})
    write_model(program, plan_parameters(program, module_weights(model), Plain()), Plain(), tmp_path / "m.tflite")
    assert read_model(tmp_path / "m.tflite").metadata == ("note",)


# -- reader -------------------------------------------------------------------------------------------------------


def test_inspect_finds_signatures_operators_and_sizes(tmp_path):
    path = tmp_path / "m.tflite"
    write(path, Model(), {"run": (torch.ones(3, 8),)}, Plain("int8"))
    summary = read_model(path)
    (signature,) = summary.signatures
    assert (signature.inputs[0].name, signature.inputs[0].shape, signature.inputs[0].dtype) == (
        "x",
        (3, 8),
        "float32",
    )
    assert signature.operators == {"FULLY_CONNECTED": 1}
    assert summary.weights["int8-channel"] == 128
    assert summary.size == path.stat().st_size
    json.dumps(summary.weights)


@pytest.mark.parametrize("contents", [b"", b"abc", b"PK\3\4" + b"\0" * 64])
def test_other_files_are_refused(tmp_path, contents):
    path = tmp_path / "m.tflite"
    path.write_bytes(contents)
    with pytest.raises(UsageError, match="not a LiteRT model"):
        read_model(path)


def test_a_truncated_file_is_refused_by_reader_and_session(tmp_path):
    path = tmp_path / "m.tflite"
    write(path, Model(), {"run": (torch.ones(3, 8),)})
    path.write_bytes(path.read_bytes()[:-600])
    with pytest.raises(UsageError, match="damaged"):
        read_model(path)
    with pytest.raises(UsageError):
        Session(path)


# -- session ------------------------------------------------------------------------------------------------------


class Counter(nn.Module):
    """Writes ``value`` to the cache at ``position`` and gives the cache's sum."""

    def forward(self, value, position, cache):
        cache = dynamic_update_slice(cache, value, position, 0)
        return {"cache": cache, "total": cache.sum(0)}


@pytest.fixture
def counter(tmp_path):
    model, position = Counter(), torch.zeros(1, dtype=torch.int32)
    converter = Converter()
    for width in (1, 2):
        converter = converter.signature(f"write_{width}", model, (torch.ones(width, 3), position, torch.zeros(4, 3)))
    return Session(converter.convert().export(tmp_path / "m.tflite"))


def test_state_is_updated_in_place_and_shared_by_signatures(counter):
    state = counter.new_state()
    ones = np.ones((2, 3), np.float32)
    counter.run("write_2", {"value": ones, "position": np.array([0], np.int32)}, state)
    result = counter.run("write_1", {"value": 5 * ones[:1], "position": np.array([3], np.int32)}, state)
    assert set(result) == {"total"}
    assert result["total"].tolist() == [7, 7, 7]
    assert state.read("cache")[:, 0].tolist() == [1, 1, 0, 5]


def test_states_are_independent_and_can_be_cleared(counter):
    one, other = counter.new_state(), counter.new_state()
    inputs = {"value": np.ones((1, 3), np.float32), "position": np.array([0], np.int32)}
    counter.run("write_1", inputs, one)
    assert other.read("cache").sum() == 0
    one.clear()
    assert one.read("cache").sum() == 0
    assert one.nbytes == 48


def test_without_state_everything_is_an_input_and_an_output(counter):
    inputs = {"value": np.ones((1, 3), np.float32), "position": np.array([2], np.int32)}
    result = counter.run("write_1", {**inputs, "cache": np.ones((4, 3), np.float32)})
    assert result["cache"].sum() == 12
    assert result["total"].tolist() == [4, 4, 4]


def test_wrong_inputs_are_listed_all_at_once(counter):
    with pytest.raises(UsageError) as caught:
        counter.run("write_1", {"value": np.ones((2, 3), np.float32), "positon": np.array([0], np.int32)})
    text = str(caught.value)
    for expected in (
        "missing  position",
        "missing  cache",
        "unknown  positon",
        "got (2, 3), expected (1, 3)",
    ):
        assert expected in text


def test_an_unknown_signature_names_those_there_are(counter):
    with pytest.raises(UsageError, match="write_1, write_2"):
        counter.run("decode", {})


def test_a_missing_file_is_a_usage_error(tmp_path):
    with pytest.raises(UsageError, match="no such model file"):
        Session(tmp_path / "none.tflite")


def test_loading_keeps_litert_log_off_the_terminal(counter, capfd):
    assert capfd.readouterr().err == ""


def test_flatbuffer_heads_have_one_size_before_and_after_writing():
    # What the writer relies on: offsets of any size above 1 take the same room.
    sizes = set()
    for offset in (2, 1 << 40, (1 << 62) + 1):
        buffer = schema.BufferT()
        buffer.offset, buffer.size = offset, 5
        builder = flatbuffers.Builder()
        builder.Finish(buffer.Pack(builder))
        sizes.add(len(builder.Output()))
    assert len(sizes) == 1
