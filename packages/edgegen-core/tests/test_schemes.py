"""Recipes: a scheme for each weight, by pattern."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

import edgegen
from edgegen.errors import UsageError
from edgegen.plugins import load, registry
from edgegen.quantization.recipe import Recipe, choose, recipe
from edgegen.tflite.reader import read_model
from edgegen.weights.storage import ParameterInfo

LINE = "embedding=int8-channel,blocks.*.attention=fp16,*=int4-block32"
FILE = """
[[rules]]
parameters = "embedding"
scheme = "dynamic_wi8_afp32"

[[rules]]
parameters = "blocks.*.attention"
scheme = "float16"

[[rules]]
parameters = "*"
scheme = "int4-block32"
"""
TABLE = {"embedding": "int8-channel", "blocks.*.attention": "float16", "*": "int4-block32"}
PARAMETERS = [
    ParameterInfo("embedding.weight", (96, 64), "embedding"),
    *(
        ParameterInfo(f"blocks.{i}.{name}.weight", shape, "linear" if len(shape) == 2 else "other")
        for i in range(2)
        for name, shape in {"norm": (64,), "attention.qkv": (192, 64), "attention.output": (64, 64)}.items()
    ),
    *(ParameterInfo(f"blocks.{i}.feed_forward.down.weight", (64, 128), "linear") for i in range(2)),
]


def storages(found: Recipe) -> list[str]:
    found.check(PARAMETERS)
    return [str(found.storage(parameter)) for parameter in PARAMETERS]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "recipe.toml"
    file.write_text(FILE)
    return file


def test_line_file_and_table_say_the_same(path: Path):
    expected = recipe(LINE)
    assert recipe(path) == recipe(str(path)) == recipe(TABLE) == expected
    assert str(expected) == LINE.replace(".attention=float16", ".attention=fp16")
    assert choose(str(path)).name == choose(expected).name == choose(LINE).name == str(expected)


def test_each_parameter_gets_the_scheme_of_the_first_pattern_that_it_matches():
    assert storages(recipe(LINE)) == [
        "int8-channel",
        *["float32", "float16", "float16"] * 2,
        *["int4-block32"] * 2,
    ]
    assert storages(recipe("blocks=fp32,*=int8-channel"))[1:] == ["float32"] * (len(PARAMETERS) - 1)


@pytest.mark.parametrize("pattern", ["blocks.1", "blocks.1.*", "*.1.*", "blocks.1.attention.qkv.weight,blocks.1"])
def test_a_pattern_is_a_path_or_that_of_a_module_above(pattern: str):
    rules = ",".join(f"{part}=int8-channel" for part in pattern.split(","))
    found = dict(zip([p.name for p in PARAMETERS], storages(recipe(f"{rules},*=fp32")), strict=True))
    eighth = {name for name, storage in found.items() if storage == "int8-channel"}
    assert eighth == {name for name in found if name.startswith("blocks.1.") and "norm" not in name}


def test_a_pattern_may_go_by_use():
    assert storages(recipe("@linear=int8-channel,*=fp32")) == [
        "float32",
        *["float32", "int8-channel", "int8-channel"] * 2,
        *["int8-channel"] * 2,
    ]


def test_a_rule_may_name_a_scheme_that_is_a_mixture():
    assert storages(recipe("blocks.0=fp32,*=int4-block32-int8-embed"))[0] == "int8-channel"
    assert storages(recipe("blocks.0=fp32,*=int4-block32-int8-embed"))[-1] == "int4-block32"


def test_a_pattern_without_parameters_names_the_closest():
    with pytest.raises(UsageError, match=r"no parameter matches blocks\.\*\.atention, embed") as caught:
        recipe("blocks.*.atention=fp16,embed=fp16,*=fp32").check(PARAMETERS)
    assert caught.value.code == "EG107"
    assert "close to: blocks.*.attention" in caught.value.details[0]
    assert "close to: embedding" in caught.value.details[1]


def test_a_rule_that_never_applies_is_refused():
    with pytest.raises(UsageError, match=r"blocks\.0=fp16 never applies: rules before it") as caught:
        recipe("embedding=fp16,blocks=int8-channel,blocks.0=fp16").check(PARAMETERS)
    assert "narrower ones first" in str(caught.value.hint)
    with pytest.raises(UsageError, match="embedding=int8-channel never applies"):
        recipe("*=fp32,embedding=int8-channel").check(PARAMETERS)
    recipe("embedding=fp16,blocks=int8-channel,*=fp16").check(PARAMETERS)  # a last rule may find nothing left


def test_a_matrix_that_no_pattern_covers_is_an_error_and_a_norm_is_not():
    with pytest.raises(UsageError, match=r"says nothing of blocks\.\*\.feed_forward\.down\.weight\n"):
        recipe("embedding=fp16,blocks.*.attention=fp16").check(PARAMETERS)
    recipe("@embedding=fp16,@linear=fp16").check(PARAMETERS)


@pytest.mark.parametrize("rules", ["*=int8-chanel", {"*": "int8-chanel"}])
def test_an_unknown_scheme_names_the_closest(rules):
    with pytest.raises(UsageError, match="no quantization scheme named 'int8-chanel'") as caught:
        recipe(rules)
    assert caught.value.hint == "did you mean int8-channel?"


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        ("=fp32", "is no rule"),
        ("*=", "is no rule"),
        ("*=fp32,", "is no rule"),
        ("*=fp32,embedding", "is no rule"),
        ({}, "no rules"),
    ],
)
def test_what_is_no_rule_is_refused(rules, message: str):
    with pytest.raises(UsageError, match=message):
        recipe(rules)


@pytest.mark.parametrize(
    ("contents", "message"),
    [
        ("rules = 3", "does not consist of rules"),
        ('[[rules]]\npattern = "*"\nscheme = "fp32"', "does not consist of rules"),
        ('[[rules]]\nparameters = "*"\nscheme = 8', "does not consist of rules"),
        ('[[rule]]\nparameters = "*"\nscheme = "fp32"', "does not consist of rules"),
        ("[[rules", "not TOML"),
        ("", "no rules"),
    ],
)
def test_a_file_that_is_no_recipe_is_refused(contents: str, message: str, tmp_path: Path):
    file = tmp_path / "recipe.toml"
    file.write_text(contents)
    with pytest.raises(UsageError, match=message):
        recipe(file)


def test_a_file_that_is_not_there_is_named(tmp_path: Path):
    with pytest.raises(UsageError, match=r"none\.toml"):
        choose(str(tmp_path / "none.toml"))


def test_the_tolerance_is_the_widest():
    loosest = load(registry().scheme("int4-block32").scheme).tolerance
    assert recipe(LINE).tolerance == loosest


def test_convert_takes_a_recipe(path: Path, tmp_path: Path):
    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embedding = nn.Embedding(48, 64)
            self.blocks = nn.ModuleList(nn.ModuleDict({"attention": nn.Linear(64, 64)}) for _ in range(2))
            self.head = nn.Linear(64, 48)

        def forward(self, tokens: torch.Tensor) -> torch.Tensor:
            x = self.embedding(tokens)
            for block in self.blocks:
                x = block["attention"](x)
            return self.head(x)

    tokens = torch.tensor([[1, 2, 3]], dtype=torch.int32)
    for asked in (LINE, path, recipe(TABLE)):
        edge = edgegen.convert(Model(), (tokens,), scheme=asked)
        assert edge(tokens)["output"].isfinite().all()
        summary = read_model(edge.export(tmp_path / "model.tflite"))
        assert summary.weight_tensors["int8-channel"] == 1
        assert summary.weight_tensors["float16"] == 2
        assert summary.weight_tensors["int4-block32"] == 1
    with pytest.raises(UsageError, match="no parameter matches nothing"):
        edgegen.convert(Model(), (tokens,), scheme="nothing=fp16,*=fp32")
