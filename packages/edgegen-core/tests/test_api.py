"""The Python API, as its documentation shows it."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import edgegen
from edgegen.errors import ErrorCode, UsageError
from edgegen.weights.module import module_weights


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.linear = nn.Linear(8, 4)

    def forward(self, x, y):
        return {"sum": self.linear(x) + y, "product": self.linear(x) * y}


def test_a_chain_of_signatures_is_exported_and_called_one_by_one(tmp_path):
    model = Model()
    edge = (
        edgegen.signature("prefill", model, (torch.ones(3, 8), torch.ones(3, 4)))
        .signature("decode", model, (torch.ones(1, 8), torch.ones(1, 4)))
        .convert()
    )
    assert edge.export(tmp_path / "model.tflite").is_file()
    for name, length in {"prefill": 3, "decode": 1}.items():
        inputs = (torch.rand(length, 8), torch.rand(length, 4))
        result, expected = edge(*inputs, signature=name), model(*inputs)
        assert list(result) == ["sum", "product"]
        for key, value in result.items():
            torch.testing.assert_close(value, expected[key])


def test_one_signature_needs_no_name():
    model = nn.Linear(8, 4)
    edge = edgegen.convert(model, (torch.ones(1, 8),))
    x = torch.rand(1, 8)
    torch.testing.assert_close(edge(x)["output"], model(x))


def test_a_converted_model_takes_numpy_arrays_and_an_example_does_not():
    model, x = nn.Linear(8, 4), torch.rand(1, 8)
    torch.testing.assert_close(edgegen.convert(model, (x,))(x.numpy())["output"], model(x))
    with pytest.raises(UsageError, match="hold a NumPy array") as caught:
        edgegen.convert(model, (x.numpy(),))
    assert "torch.from_numpy" in str(caught.value.hint)


def test_keyword_arguments_are_taken():
    model = Model()
    edge = edgegen.signature("run", model, (torch.ones(1, 8),), {"y": torch.ones(1, 4)}).convert()
    x, y = torch.rand(1, 8), torch.rand(1, 4)
    torch.testing.assert_close(edge(x, y=y)["sum"], model(x, y)["sum"])


def test_schemes_are_chosen_by_name_or_alias(tmp_path):
    model = nn.Linear(64, 32, bias=False)
    sizes = {
        scheme: edgegen.convert(model, (torch.ones(1, 64),), scheme=scheme).export(tmp_path / scheme).stat().st_size
        for scheme in ("fp32", "fp16", "int8-channel", "dynamic_wi8_afp32")
    }
    assert sizes["fp32"] > sizes["fp16"] > sizes["int8-channel"] == sizes["dynamic_wi8_afp32"]


def test_an_unknown_scheme_suggests_the_closest():
    with pytest.raises(UsageError, match="int8-chanel") as caught:
        edgegen.convert(nn.Linear(2, 2), (torch.ones(1, 2),), scheme="int8-chanel")
    assert "int8-channel" in str(caught.value)


def test_several_signatures_must_be_called_by_name():
    model, x = nn.Linear(2, 2), torch.ones(1, 2)
    edge = edgegen.signature("a", model, (x,)).signature("b", model, (x,)).convert()
    with pytest.raises(UsageError, match="a, b"):
        edge(x)
    with pytest.raises(UsageError, match="no signature 'c'"):
        edge(x, signature="c")


def test_signatures_of_different_modules_are_refused():
    x = torch.ones(1, 2)
    converter = edgegen.signature("a", nn.Linear(2, 2), (x,)).signature("b", nn.Linear(2, 2), (x,))
    with pytest.raises(UsageError, match="must share one module"):
        converter.convert()


def test_a_module_without_weights_asks_for_parameters():
    with pytest.raises(UsageError, match="meta device") as caught:
        edgegen.convert(nn.Linear(2, 2, device="meta"), (torch.ones(1, 2, device="meta"),))
    assert "parameters=" in str(caught.value)


def test_integer_and_scalar_parameters_are_kept_exactly():
    class Offsets(nn.Module):
        def __init__(self):
            super().__init__()
            self.bias = nn.Parameter(torch.tensor(0.5))

        def forward(self, x):
            return x + self.bias

    x = torch.rand(3)
    torch.testing.assert_close(edgegen.convert(Offsets(), (x,))(x)["output"], x + 0.5)


def test_core_converts_without_any_other_package(tmp_path):
    from edgegen.testing.plugins import installed

    model, x = nn.Linear(4, 4), torch.rand(2, 4)
    with installed(tmp_path, alone=True):
        edge = edgegen.convert(model, (x,))
        torch.testing.assert_close(edge(x)["output"], model(x), rtol=1e-5, atol=1e-5)
        with pytest.raises(UsageError, match="no quantization scheme named 'int8-channel'"):
            edgegen.convert(model, (x,), scheme="int8-channel")


def test_converting_and_exporting_share_their_defaults():
    import inspect

    from edgegen.export import ExportOptions

    for convert in (edgegen.convert, edgegen.api.Converter.convert):
        assert inspect.signature(convert).parameters["composites"].default == ExportOptions.composites


class Returning(nn.Module):
    def __init__(self, value):
        super().__init__()
        self.value = value

    def forward(self, x):
        return self.value


@pytest.mark.parametrize(
    ("module", "args", "options", "message"),
    [
        (None, (torch.ones(1, 4),), {}, "a NoneType where a torch.nn.Module belongs"),
        (torch.relu, (torch.ones(1, 4),), {}, "where a torch.nn.Module belongs"),
        (nn.Linear(4, 4), torch.ones(1, 4), {}, "are a Tensor, not a tuple"),
        (nn.Linear(4, 4), None, {}, "are a NoneType, not a tuple"),
        (nn.Linear(4, 4), (torch.ones(1, 4),), {"scheme": None}, "named by a string, not None"),
        (nn.Linear(4, 4), (torch.ones(1, 4),), {"dynamic": "input"}, "are 'input'"),
        (nn.Linear(4, 4), (torch.ones(1, 4),), {"dynamic": {"input": [0]}}, "dynamic dimensions"),
        (Returning(None), (torch.ones(1, 4),), {}, "returns None where a tensor belongs"),
        (Returning(3), (torch.ones(1, 4),), {}, "returns 3 where a tensor belongs"),
        (Returning("x"), (torch.ones(1, 4),), {}, "returns 'x' where a tensor belongs"),
    ],
)
def test_arguments_of_another_type_are_refused(module, args, options, message):
    with pytest.raises(UsageError, match=message):
        edgegen.convert(module, args, **options)


@pytest.mark.parametrize("name", ["", "nowhere/model.tflite"])
def test_a_path_that_cannot_be_a_file_is_refused_before_writing(name, tmp_path):
    converted = edgegen.convert(nn.Linear(2, 2), (torch.ones(1, 2),))
    with pytest.raises(edgegen.UsageError, match="cannot write") as caught:
        converted.export(tmp_path / name)
    assert caught.value.code == ErrorCode.INVALID_ARGUMENT
    assert list(tmp_path.iterdir()) == []


def test_a_parameter_without_numbers_or_with_others_is_named():
    converter = edgegen.signature("run", nn.Linear(2, 2), (torch.ones(1, 2),))
    other = module_weights(nn.Linear(2, 3))
    for parameters, says in [({}, "no numbers for the parameter weight"), (other, r"\[2, 2\], but .* \[3, 2\]")]:
        with pytest.raises(edgegen.UsageError, match=says) as caught:
            converter.convert(parameters=parameters)
        assert caught.value.code == ErrorCode.WEIGHTS_NOT_LOADED


@pytest.mark.parametrize("composites", [["a"], None, "", "all,none"])
def test_composites_are_named_by_a_string(composites):
    with pytest.raises(edgegen.UsageError, match="composites are named by"):
        edgegen.convert(nn.Linear(2, 2), (torch.ones(1, 2),), composites=composites)


def test_composites_that_a_model_lacks_are_named():
    with pytest.raises(edgegen.UsageError, match="no composite nope"):
        edgegen.convert(nn.Linear(2, 2), (torch.ones(1, 2),), composites="nope")


def test_composites_beside_dynamic_dimensions_are_refused():
    with pytest.raises(edgegen.UsageError, match="dynamic"):
        edgegen.convert(
            nn.Linear(2, 2), (torch.ones(2, 2),), dynamic={"input": {0: "rows"}}, composites="odml.rms_norm"
        )
