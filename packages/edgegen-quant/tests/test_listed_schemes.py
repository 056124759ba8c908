"""Every scheme that the plugin lists."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgegen import builtin as core
from edgegen.plugins import load, registry
from edgegen.weights.storage import BITS, ParameterInfo, Storage, scheme_for
from edgegen_quant.plugin import edgegen_quant_schemes

SCHEMES = [*core.edgegen_quant_schemes(), *edgegen_quant_schemes()]


@pytest.mark.parametrize("listed", SCHEMES, ids=lambda listed: listed.name)
def test_resolves_by_name_and_by_every_alias(listed):
    for name in (listed.name, *listed.aliases):
        assert registry().scheme(name) == listed
    assert len({id(load(registry().scheme(name).scheme)) for name in (listed.name, *listed.aliases)}) == 1


def test_the_names_and_aliases():
    assert {listed.name: listed.aliases for listed in edgegen_quant_schemes()} == {
        "fp16": ("float16",),
        "int8-channel": ("dynamic_wi8_afp32", "dynamic_wi8c_afp32"),
        "int8-weight-only": ("weight_only_wi8_afp32",),
        "int4-channel": ("dynamic_wi4_afp32", "dynamic_wi4c_afp32"),
        "int4-block32": ("dynamic_wi4b32_afp32",),
        "int4-block64": ("dynamic_wi4b64_afp32",),
        "int4-block128": ("dynamic_wi4b128_afp32",),
        "int2-channel": ("dynamic_wi2c_afp32",),
        "int4-channel-int8-embed": (),
        "int4-block32-int8-embed": (),
        "int4-block64-int8-embed": (),
        "int4-block128-int8-embed": (),
        "passthrough": (),
    }


@pytest.mark.parametrize("listed", SCHEMES, ids=lambda listed: listed.name)
def test_encodes_to_the_storage_that_it_chose(listed):
    scheme = load(listed.scheme)
    rows = np.random.default_rng(0).standard_normal((6, 128)).astype(np.float32)
    for role in ("linear", "embedding", "other"):
        info = ParameterInfo("weight", rows.shape, role)
        chosen = scheme_for(scheme, info)
        storage = scheme.storage(info)
        assert storage == chosen.storage(info)
        encoded = chosen.encode(rows, storage)
        assert encoded.data.dtype.itemsize * 8 == max(BITS[storage.dtype], 8)
        for part, nbytes in storage.parts(rows.shape).items():
            assert getattr(encoded, part).nbytes == nbytes
        assert (encoded.scales is not None) == (storage.per_channel or storage.block is not None)
        columns = () if storage.block is None else (128 // storage.block,)
        assert encoded.scales is None or encoded.scales.shape == (len(rows), *columns)


@pytest.mark.parametrize("listed", SCHEMES, ids=lambda listed: listed.name)
def test_states_a_tolerance_that_can_be_met_and_missed(listed):
    tolerance = load(listed.scheme).tolerance
    assert 0 < tolerance.logits < 1
    assert 0 < tolerance.top1 <= 1


@pytest.mark.parametrize("listed", SCHEMES, ids=lambda listed: listed.name)
def test_the_readme_shows_the_name_and_the_aliases(listed):
    readme = (Path(__file__).parent.parent / "README.md").read_text()
    assert f"| `{listed.name}` | {', '.join(f'`{alias}`' for alias in listed.aliases) or '-'} |" in readme


def test_keep_takes_the_checkpoints_own_blocks_for_matrices_only():
    keep, blocks = load(registry().scheme("passthrough").scheme), Storage("int4", block=32, offsets="float16")
    assert keep.storage(ParameterInfo("weight", (4, 64), "linear", blocks)) == blocks
    assert keep.storage(ParameterInfo("weight", (4, 64), "embedding", blocks)) == blocks
    assert keep.storage(ParameterInfo("weight", (4, 64), "other", blocks)) == Storage("float32")
    assert keep.storage(ParameterInfo("weight", (4, 64), "linear")) == Storage("int8", per_channel=True)
