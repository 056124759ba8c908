"""Reading GGUF: slices equal whole tensors, parts, laziness, and damage that ends in a sentence."""

from __future__ import annotations

import contextlib
import struct
import tracemalloc
from pathlib import Path

import gguf
import numpy as np
import pytest
from gguf.constants import GGML_QUANT_SIZES
from gguf_files import Kind, encode, smollm2, whole, write

from edgegen.errors import CheckpointError, EdgegenError, UnsupportedError, UsageError
from edgegen_gguf.reader import detect, open_checkpoint

RANDOM = np.random.default_rng(0)
VALUES = RANDOM.standard_normal((10, 512)).astype(np.float32)

# fmt: off
DEQUANTIZABLE = [
    Kind.F32, Kind.F16, Kind.BF16, Kind.Q4_0, Kind.Q4_1, Kind.Q5_0, Kind.Q5_1, Kind.Q8_0,
    Kind.Q2_K, Kind.Q3_K, Kind.Q4_K, Kind.Q5_K, Kind.Q6_K, Kind.TQ1_0, Kind.TQ2_0, Kind.MXFP4,
    Kind.IQ1_S, Kind.IQ1_M, Kind.IQ2_XXS, Kind.IQ2_XS, Kind.IQ2_S, Kind.IQ3_XXS, Kind.IQ3_S, Kind.IQ4_NL,
    Kind.IQ4_XS,
]
# fmt: on


@pytest.mark.parametrize("kind", DEQUANTIZABLE, ids=lambda kind: kind.name)
def test_slices_equal_the_whole_dequantized_tensor(tmp_path: Path, kind: Kind) -> None:
    data = encode(VALUES, kind)
    tensor = open_checkpoint(write(tmp_path / "m.gguf", {"w": (data, kind)})).tensors["w"]
    expected = whole(data, kind)
    assert (tensor.shape, tensor.dtype) == ((10, 512), kind.name)
    assert tensor.nbytes == data.nbytes
    for start, stop in ((0, 10), (0, 1), (3, 8), (9, 10), (4, 4)):
        part = tensor.read_rows(start, stop)
        assert part.dtype == np.float32
        assert part.shape == (stop - start, 512)
        np.testing.assert_array_equal(part, expected[start:stop])


@pytest.mark.parametrize("dtype", [np.int8, np.int16, np.int32, np.int64, np.float64])
def test_plain_numbers_become_float32(tmp_path: Path, dtype: type[np.generic]) -> None:
    values = np.arange(12).reshape(3, 4).astype(dtype)
    writer = gguf.GGUFWriter(tmp_path / "m.gguf", "llama")
    writer.add_tensor("w", values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    rows = open_checkpoint(tmp_path / "m.gguf").tensors["w"].read_rows(1, 3)
    np.testing.assert_array_equal(rows, values[1:].astype(np.float32))


def test_a_quantized_vector_is_cut_inside_its_blocks(tmp_path: Path) -> None:
    data = encode(VALUES[0], Kind.Q8_0)
    tensor = open_checkpoint(write(tmp_path / "m.gguf", {"v": (data, Kind.Q8_0)})).tensors["v"]
    assert tensor.shape == (512,)
    np.testing.assert_array_equal(tensor.read_rows(33, 70), whole(data, Kind.Q8_0)[33:70])


def test_slices_longer_than_a_dequantizing_step_are_whole(tmp_path: Path) -> None:
    values = RANDOM.standard_normal((700, 1024)).astype(np.float32)
    data = encode(values, Kind.Q4_1)
    tensor = open_checkpoint(write(tmp_path / "m.gguf", {"w": (data, Kind.Q4_1)})).tensors["w"]
    np.testing.assert_array_equal(tensor.read_rows(1, 700), whole(data, Kind.Q4_1)[1:])


def test_three_dimensions_are_in_pytorch_order(tmp_path: Path) -> None:
    values = RANDOM.standard_normal((3, 5, 32)).astype(np.float32)
    data = encode(values, Kind.Q8_0)
    tensor = open_checkpoint(write(tmp_path / "m.gguf", {"w": (data, Kind.Q8_0)})).tensors["w"]
    assert tensor.shape == (3, 5, 32)
    np.testing.assert_array_equal(tensor.read_rows(1, 3), whole(data, Kind.Q8_0)[1:3])


def test_a_type_that_cannot_be_dequantized_is_refused_when_read(tmp_path: Path) -> None:
    data = np.zeros((2, GGML_QUANT_SIZES[Kind.Q8_1][1]), np.uint8)
    tensor = open_checkpoint(write(tmp_path / "m.gguf", {"w": (data, Kind.Q8_1)})).tensors["w"]
    with pytest.raises(UnsupportedError, match="Q8_1"):
        tensor.read_rows(0, 0)


def test_the_configuration_has_scalars_and_short_arrays_only(tmp_path: Path) -> None:
    file = write(
        tmp_path / "m.gguf",
        {"w": (VALUES, Kind.F32)},
        llama__block_count=3,
        llama__flag=True,
        llama__name="x",
        llama__heads=[4, 4, 2],
        general__languages=["en", "de"],
        tokenizer__ggml__tokens=[f"t{i}" for i in range(3000)],
        tokenizer__ggml__token_type=[1] * 3000,
    )
    config = open_checkpoint(file).config
    assert config == {
        "general.architecture": "llama",
        "llama.block_count": 3,
        "llama.flag": True,
        "llama.name": "x",
        "llama.heads": [4, 4, 2],
        "general.languages": ["en", "de"],
    }


def test_a_folder_with_one_model_opens_and_with_two_asks(tmp_path: Path) -> None:
    write(tmp_path / "a.gguf", {"w": (VALUES, Kind.F32)})
    assert detect(tmp_path)
    assert open_checkpoint(tmp_path).files == (tmp_path / "a.gguf",)
    write(tmp_path / "b.gguf", {"w": (VALUES, Kind.F32)})
    with pytest.raises(UsageError, match="2 GGUF models"):
        open_checkpoint(tmp_path)


def parts(folder: Path, total: int = 3) -> list[Path]:
    return [
        write(
            folder / f"m-{i:05d}-of-00003.gguf",
            {f"w{i}": (VALUES + i, Kind.F32)},
            split__no=i - 1,
            split__count=3,
            split__tensors__count=total,
        )
        for i in (1, 2, 3)
    ]


def test_parts_open_as_one_from_any_of_them(tmp_path: Path) -> None:
    files = parts(tmp_path)
    for path in (*files, tmp_path):
        checkpoint = open_checkpoint(path)
        assert checkpoint.files == tuple(files)
        np.testing.assert_array_equal(checkpoint.tensors["w3"].read_rows(2, 4), VALUES[2:4] + 3)


def test_missing_parts_are_named(tmp_path: Path) -> None:
    parts(tmp_path)[1].unlink()
    for path in (tmp_path, tmp_path / "m-00003-of-00003.gguf"):
        with pytest.raises(CheckpointError, match="1 of 3 parts") as caught:
            open_checkpoint(path)
        assert caught.value.details == ("m-00002-of-00003.gguf",)


def test_parts_of_different_models_are_refused(tmp_path: Path) -> None:
    parts(tmp_path, total=4)
    with pytest.raises(CheckpointError, match="3 tensors instead of 4"):
        open_checkpoint(tmp_path)


def test_a_renamed_part_is_refused(tmp_path: Path) -> None:
    parts(tmp_path)[0].rename(tmp_path / "renamed.gguf")
    with pytest.raises(CheckpointError, match="one of 3 parts"):
        open_checkpoint(tmp_path / "renamed.gguf")


# --- damage -------------------------------------------------------------------------------------------------


@pytest.fixture
def small(tmp_path: Path) -> Path:
    data = encode(VALUES, Kind.Q4_0)
    return write(tmp_path / "m.gguf", {"w": (data, Kind.Q4_0), "v": (VALUES[0], Kind.F32)}, a__b=["x", "yz"], c=7)


def test_every_truncation_is_a_checkpoint_error(small: Path) -> None:
    content = small.read_bytes()
    for length in (*range(400), len(content) - VALUES[0].nbytes, len(content) - 64):
        small.write_bytes(content[:length])
        with pytest.raises(CheckpointError) as caught:
            open_checkpoint(small)
        assert caught.value.hint
        assert "m.gguf" in caught.value.message


def test_bit_flips_in_the_head_never_escape_nor_fill_memory(small: Path) -> None:
    content = small.read_bytes()
    random = np.random.default_rng(1)
    tracemalloc.start()
    for _ in range(500):
        damaged = bytearray(content)
        damaged[random.integers(0, 352)] ^= 1 << random.integers(0, 8)
        small.write_bytes(damaged)
        with contextlib.suppress(EdgegenError), np.errstate(invalid="ignore"):
            for tensor in open_checkpoint(small).tensors.values():
                tensor.read()
    assert tracemalloc.get_traced_memory()[1] < 20e6
    tracemalloc.stop()


def test_wrong_magic_is_not_gguf(tmp_path: Path) -> None:
    file = tmp_path / "m.gguf"
    file.write_bytes(b"GGML" + bytes(100))
    with pytest.raises(CheckpointError, match="not a GGUF file"):
        open_checkpoint(file)


@pytest.mark.parametrize(("version", "word"), [(1, "version 1"), (9, "version 9"), (3 << 24, "big-endian")])
def test_other_versions_say_what_to_do(tmp_path: Path, version: int, word: str) -> None:
    file = tmp_path / "m.gguf"
    file.write_bytes(b"GGUF" + struct.pack("<I", version) + bytes(100))
    with pytest.raises(UnsupportedError, match=word) as caught:
        open_checkpoint(file)
    assert caught.value.hint


@pytest.mark.parametrize(("offset", "what"), [(8, "entries"), (16, "entries")], ids=["tensor count", "metadata count"])
def test_absurd_counts_are_refused_at_once(small: Path, offset: int, what: str) -> None:
    content = bytearray(small.read_bytes())
    content[offset : offset + 8] = struct.pack("<Q", 2**60)
    small.write_bytes(content)
    with pytest.raises(CheckpointError, match=what):
        open_checkpoint(small)


def test_absurd_string_and_array_lengths_are_refused_at_once(small: Path) -> None:
    content = small.read_bytes()
    at = content.index(b"a.b") + 3 + 4 + 4  # past the key, the value type and the element type
    for length in (2**63, 10**9):
        small.write_bytes(content[:at] + struct.pack("<Q", length) + content[at + 8 :])
        with pytest.raises(CheckpointError):
            open_checkpoint(small)


def test_an_unknown_tensor_type_suggests_an_upgrade(small: Path) -> None:
    content = bytearray(small.read_bytes())
    marker = struct.pack("<Q", 1) + b"w" + struct.pack("<IQQ", 2, 512, 10)
    at = content.index(marker) + len(marker)
    content[at : at + 4] = struct.pack("<I", 4000)
    small.write_bytes(content)
    with pytest.raises(UnsupportedError, match="type 4000") as caught:
        open_checkpoint(small)
    assert "upgrade" in str(caught.value.hint)


def test_detect_looks_at_the_first_bytes(small: Path, tmp_path: Path) -> None:
    renamed = small.rename(tmp_path / "weights.bin")
    assert detect(renamed)
    renamed.write_bytes(b"PK\x03\x04")
    assert not detect(renamed)
    assert not detect(tmp_path / "absent")


# --- the real thing -----------------------------------------------------------------------------------------


@pytest.mark.real_weights
def test_smollm2_opens_without_reading_its_vocabulary_into_memory() -> None:
    file = smollm2()
    tracemalloc.start()
    checkpoint = open_checkpoint(file)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4e6
    assert checkpoint.config["llama.block_count"] == 30
    assert len(checkpoint.tensors) == 272


@pytest.mark.real_weights
def test_smollm2_tensors_are_those_of_the_package_reader() -> None:
    file = smollm2()
    checkpoint = open_checkpoint(file)
    for reference in gguf.GGUFReader(file).tensors:
        tensor = checkpoint.tensors[reference.name]
        assert tensor.shape == tuple(reversed(reference.shape.tolist()))
        assert tensor.dtype == reference.tensor_type.name
        start, stop = tensor.rows // 3, tensor.rows // 2
        expected = whole(reference.data[start:stop], reference.tensor_type)
        np.testing.assert_array_equal(tensor.read_rows(start, stop), expected)


@pytest.mark.real_weights
def test_a_weight_map_gives_the_weights_that_transformers_builds() -> None:
    transformers = pytest.importorskip("transformers")
    torch = pytest.importorskip("torch")
    from edgegen.weights import WeightMap
    from edgegen.weights.weight_map import permute_rows
    from edgegen_layers.row_orders import interleaved_to_half_rotary

    file = smollm2()
    layer = "model.layers.{i}"
    weight_map = WeightMap(
        {
            "model.embed_tokens.weight": "token_embd.weight",
            "model.norm.weight": "output_norm.weight",
            f"{layer}.input_layernorm.weight": "blk.{i}.attn_norm.weight",
            f"{layer}.post_attention_layernorm.weight": "blk.{i}.ffn_norm.weight",
            f"{layer}.self_attn.q_proj.weight": permute_rows(
                "blk.{i}.attn_q.weight", interleaved_to_half_rotary(9, 64)
            ),
            f"{layer}.self_attn.k_proj.weight": permute_rows(
                "blk.{i}.attn_k.weight", interleaved_to_half_rotary(3, 64)
            ),
            f"{layer}.self_attn.v_proj.weight": "blk.{i}.attn_v.weight",
            f"{layer}.self_attn.o_proj.weight": "blk.{i}.attn_output.weight",
            f"{layer}.mlp.gate_proj.weight": "blk.{i}.ffn_gate.weight",
            f"{layer}.mlp.up_proj.weight": "blk.{i}.ffn_up.weight",
            f"{layer}.mlp.down_proj.weight": "blk.{i}.ffn_down.weight",
        }
    )
    model = transformers.AutoModelForCausalLM.from_pretrained(
        file.parent, gguf_file=file.name, dtype=torch.float32, local_files_only=True
    )
    state = {name: value for name, value in model.state_dict().items() if name != "lm_head.weight"}  # tied
    resolved = weight_map.resolve(
        open_checkpoint(file), {name: tuple(value.shape) for name, value in state.items()}, "smollm2-135m"
    )
    for name, value in state.items():
        np.testing.assert_array_equal(resolved[name].read(), value.numpy(), err_msg=name)
