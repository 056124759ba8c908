"""Published models: one row each, with the hyper-parameters that their ``config.json`` states block by block.

Imports neither torch nor numpy, so that listing models stays fast.
"""

from __future__ import annotations

from typing import Any

from edgegen.descriptors import Variant

Row = dict[str, Any]
"""Keyword arguments of :class:`edgegen_models_openelm.openelm.OpenELMConfig`."""


def near(width: float, step: int) -> int:
    """The multiple of ``step`` nearest to ``width``, halves upwards; the next one if that loses more than a tenth."""
    multiple = max(step, int(width + step / 2) // step * step)
    return multiple if multiple >= 0.9 * width else multiple + step


def _line(start: float, end: float, count: int) -> list[float]:
    """Evenly spaced, to two decimals."""
    return [round(start + (end - start) * i / (count - 1), 2) for i in range(count)]


def scaled(layers: int, hidden_size: int, head_dim: int) -> Row:
    """The published rule: query channels grow from a half of ``hidden_size`` to all, feed-forward from a half to 4
    times."""
    shared = 4  # query heads to a key/value head
    heads = [near(hidden_size * factor, head_dim * shared) // head_dim for factor in _line(0.5, 1.0, layers)]
    return {
        "vocab_size": 32_000,
        "hidden_size": hidden_size,
        "intermediate_size": tuple(near(hidden_size * factor, 256) for factor in _line(0.5, 4.0, layers)),
        "num_attention_heads": tuple(heads),
        "num_key_value_heads": tuple(count // shared for count in heads),
        "head_dim": head_dim,
        "max_position_embeddings": 2048,
    }


# size, parameters, hyper-parameters
ROWS: tuple[tuple[str, int, Row], ...] = (
    ("270M", 271_527_168, scaled(layers=16, hidden_size=1280, head_dim=64)),
    ("450M", 457_179_136, scaled(layers=20, hidden_size=1536, head_dim=64)),
    ("1_1B", 1_079_891_456, scaled(layers=28, hidden_size=2048, head_dim=64)),
    ("3B", 3_036_647_424, scaled(layers=36, hidden_size=3072, head_dim=128)),
)


def _name(size: str, flavour: str) -> str:
    return f"openelm-{size}{flavour}".lower().replace("_", ".")


CONFIGS: dict[str, Row] = {_name(size, flavour): row for size, _, row in ROWS for flavour in ("", "-Instruct")}
VARIANTS = tuple(
    Variant(
        name=_name(size, flavour),
        source=f"apple/OpenELM-{size}{flavour}",
        parameters=parameters,
        context_length=row["max_position_embeddings"],
        license="apple-amlr",
        stop_tokens=("</s>",),
    )
    for size, parameters, row in ROWS
    for flavour in ("", "-Instruct")
)
