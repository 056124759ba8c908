"""The published sizes: one row each. Imports neither torch nor layers, so that listing them stays fast."""

from __future__ import annotations

from edgegen.descriptors import Variant

_PARAMETERS = {"270M": 271_527_168, "450M": 457_179_136, "1_1B": 1_079_891_456, "3B": 3_036_647_424}

VARIANTS = tuple(
    Variant(
        name=f"openelm-{size.lower().replace('_', '.')}{flavour.lower()}",
        parameters=parameters,
        context_length=2048,
        source=f"apple/OpenELM-{size}{flavour}",
        license="apple-amlr",
        stop_tokens=("</s>",),
    )
    for size, parameters in _PARAMETERS.items()
    for flavour in ("", "-Instruct")
)
