"""Files beyond 2 GB, where 32-bit offsets end, load and compute in both of LiteRT's runtimes."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
import torch
from ai_edge_litert.interpreter import Interpreter
from torch import nn

import edgegen
from edgegen.litert.session import Session
from edgegen.weights import LazyTensor

WIDTH, CLASSES = 1024, 16
LIMIT = 2**31


class TableThenHead(nn.Module):
    """A table that fills the file, and behind it weights whose place needs more than 31 bits."""

    def __init__(self, rows: int) -> None:
        super().__init__()
        self.table = nn.Embedding(rows, WIDTH)
        self.head = nn.Linear(WIDTH, CLASSES)

    def forward(self, ids):
        looked_up = self.table(ids)  # [T, WIDTH]
        return looked_up, self.head(looked_up)  # [T, CLASSES]


def table_rows(indices):
    """Any rows of the table, made when asked for: it is never in memory whole."""
    along = np.linspace(-1, 1, WIDTH, dtype=np.float32)
    return (indices * 7919 % 100_003 / 100_003).astype(np.float32)[:, None] * along + along[::-1] ** 2


def lazy(name, shape, read_rows):
    return LazyTensor(name, shape, "F32", 4 * int(np.prod(shape)), read_rows)


@pytest.fixture(params=[1000, LIMIT // (4 * WIDTH) + 20_000], ids=["small", "beyond 2 GB"])
def rows(request, tmp_path):
    needed, free = 4 * WIDTH * request.param + 10**8, shutil.disk_usage(tmp_path).free
    if free < needed:
        pytest.skip(f"needs {needed / 1e9:.1f} GB on the disk of {tmp_path}, which has {free / 1e9:.1f} GB free")
    yield request.param
    shutil.rmtree(tmp_path)  # pytest would keep the last three


def test_file_of_any_size_computes_in_both_runtimes(rows, tmp_path):
    random = np.random.default_rng(0)
    weight = random.standard_normal((CLASSES, WIDTH), dtype=np.float32)
    bias = random.standard_normal(CLASSES, dtype=np.float32)
    parameters = {
        "table.weight": lazy("table", (rows, WIDTH), lambda start, stop: table_rows(np.arange(start, stop))),
        "head.weight": lazy("head", weight.shape, lambda start, stop: weight[start:stop]),
        "head.bias": lazy("bias", bias.shape, lambda start, stop: bias[start:stop]),
    }
    with torch.device("meta"):
        module = TableThenHead(rows)
        sample = torch.zeros(4, dtype=torch.int32)
    file = edgegen.signature("look_up", module, (sample,)).convert(parameters=parameters).export(tmp_path / "m.tflite")
    assert file.stat().st_size >= 4 * WIDTH * rows
    if rows > 1000:
        with file.open("rb") as opened:
            opened.seek(LIMIT)
            assert weight[0].tobytes() in opened.read()  # the head does lie behind the table

    ids = np.array([0, 1, rows // 2, rows - 1], np.int32)
    expected = table_rows(ids.astype(np.int64))
    session = Session(file)
    (argument,) = session.signatures["look_up"].inputs
    interpreter = Interpreter(str(file)).get_signature_runner("look_up")
    for outputs in (session.run("look_up", {argument: ids}), interpreter(**{argument: ids})):
        looked_up, classified = sorted(outputs.values(), key=lambda array: -array.shape[-1])
        np.testing.assert_array_equal(looked_up, expected)
        np.testing.assert_allclose(classified, expected @ weight.T + bias, rtol=1e-4, atol=1e-3)
