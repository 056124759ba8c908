"""Adapter files for LiteRT-LM, read back with LiteRT's own schema."""

from __future__ import annotations

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from edgegen.errors import UnsupportedError
from edgegen_bundles.litertlm.adapter import write_adapter


@pytest.fixture
def tensors():
    generator = np.random.default_rng(0)
    shapes = {"lora_atten_q_a_prime_weight_0": (48, 16), "lora_atten_q_b_prime_weight_0": (16, 24)}
    return {name: generator.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}


def test_tensors_lie_where_the_file_says(tmp_path, tensors):
    path = tmp_path / "adapter.tflite"
    write_adapter(path, 16, tensors)
    data = path.read_bytes()
    model = schema.Model.GetRootAs(data)
    graph = model.Subgraphs(0)
    found = {}
    for index in range(graph.TensorsLength()):
        tensor = graph.Tensors(index)
        buffer = model.Buffers(tensor.Buffer())
        assert buffer.Offset() % 64 == 0
        contents = np.frombuffer(data, np.float32, buffer.Size() // 4, buffer.Offset())
        found[tensor.Name().decode()] = contents.reshape(tensor.ShapeAsNumpy())
    assert found.keys() == tensors.keys()
    for name, array in tensors.items():
        np.testing.assert_array_equal(found[name], array)


def test_the_rank_is_the_number_of_a_buffer(tmp_path, tensors):
    path = tmp_path / "adapter.tflite"
    write_adapter(path, 16, tensors)
    model = schema.Model.GetRootAs(path.read_bytes())
    assert model.Metadata(0).Name() == b"lora_rank"
    assert model.Metadata(0).Buffer() == 16
    assert model.BuffersLength() > 16


def test_the_file_ends_with_a_page(tmp_path, tensors):
    write_adapter(tmp_path / "adapter.tflite", 16, tensors)
    assert (tmp_path / "adapter.tflite").stat().st_size % 4096 == 0
    assert [path.name for path in tmp_path.iterdir()] == ["adapter.tflite"]


def test_a_rank_that_the_client_refuses(tmp_path, tensors):
    with pytest.raises(UnsupportedError, match="rank 16 or 32, not 4"):
        write_adapter(tmp_path / "adapter.tflite", 4, tensors)
    assert not list(tmp_path.iterdir())
