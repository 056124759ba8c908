"""Published models: one row each, with the hyper-parameters of its ``config.json``.

Imports neither torch nor numpy, so that listing models stays fast.
"""

from __future__ import annotations

import math
from typing import Any

from edgegen.descriptors import Variant
from edgegen_layers.rotary_scaling import FrequencyScaling

Row = dict[str, Any]
"""Keyword arguments of :class:`edgegen_models_phi.phi.Phi2Config` or ``Phi3Config``."""

# LongRoPE's factors: by what each pair of channels turns slower. In the shortest decimals that give the same 32-bit
# numbers as the ``config.json`` of each repository.
# fmt: off
PHI_3_5_MINI_SHORT = (
    1.0, 1.02, 1.03, 1.03, 1.05, 1.05, 1.05, 1.05, 1.05, 1.0699999, 1.0999999, 1.1099999, 1.1599998, 1.1599998,
    1.1699998, 1.2899998, 1.3399998, 1.6799998, 1.7899998, 1.8199998, 1.8499998, 1.8799998, 1.9099997, 1.9399997,
    1.9899997, 2.0199997, 2.0199997, 2.0199997, 2.0199997, 2.0199997, 2.0199997, 2.0299997, 2.0299997, 2.0299997,
    2.0299997, 2.0299997, 2.0299997, 2.0299997, 2.0299997, 2.0299997, 2.0799997, 2.0899997, 2.1899996, 2.2199996,
    2.5899994, 2.7299995, 2.7499995, 2.8399994,
)
PHI_3_5_MINI_LONG = (
    1.08, 1.11, 1.14, 1.34, 1.5899999, 1.6, 1.62, 2.6200001, 3.23, 3.23, 4.79, 7.4, 7.7000003, 9.09, 12.2, 17.67,
    24.460001, 28.570002, 30.420002, 30.840002, 32.590004, 32.930004, 42.320004, 44.960003, 50.340004, 50.450005,
    57.550003, 57.930004, 58.210003, 60.140003, 62.610004, 62.620003, 62.710003, 63.140003, 63.140003, 63.770004,
    63.930004, 63.960003, 63.97, 64.03, 64.07, 64.08, 64.12, 64.41, 64.48, 64.51, 64.53, 64.84,
)
PHI_4_MINI_SHORT = (1.0,) * 48
PHI_4_MINI_LONG = (
    1.0, 1.118320672, 1.250641126, 1.398617824, 1.564103225, 1.74916897, 1.956131817, 2.187582649, 2.446418898,
    2.735880826, 3.059592084, 3.421605075, 3.826451687, 4.279200023, 4.785517845, 5.351743533, 5.984965424,
    6.693110555, 7.485043894, 8.370679318, 9.36110372, 10.4687158, 11.70738129, 13.09260651, 14.64173252,
    16.37415215, 18.31155283, 20.47818807, 22.90118105, 25.61086418, 28.64115884, 32.03, 32.1, 32.13, 32.23, 32.6,
    32.61, 32.64, 32.66, 32.7, 32.71, 32.93, 32.97, 33.28, 33.49, 33.5, 44.16, 47.77,
)
# fmt: on


def longrope(short_factor: tuple[float, ...], original: int, extended: int) -> FrequencyScaling:
    """Short factors of a context of ``original`` tokens that was extended to ``extended`` (Ding et al., 2024)."""
    amplitude = math.sqrt(1 + math.log(max(1.0, extended / original)) / math.log(original))
    return FrequencyScaling(factors=short_factor, attention_factor=amplitude)


PHI_2: Row = {"vocab_size": 51_200, "hidden_size": 2560, "intermediate_size": 10_240, "num_hidden_layers": 32,
              "num_attention_heads": 32, "num_key_value_heads": 32, "partial_rotary_factor": 0.4,
              "max_position_embeddings": 2048}  # fmt: skip
PHI_3_MINI: Row = {"vocab_size": 32_064, "hidden_size": 3072, "intermediate_size": 8192, "num_hidden_layers": 32,
                   "num_attention_heads": 32, "num_key_value_heads": 32, "head_dim": 96, "sliding_window": 2047,
                   "max_position_embeddings": 4096}  # fmt: skip
PHI_3_5_MINI = PHI_3_MINI | {"sliding_window": None, "original_max_position_embeddings": 4096,
                             "extended_max_position_embeddings": 131_072,
                             "rope_scaling": longrope(PHI_3_5_MINI_SHORT, 4096, 131_072),
                             "long_factor": PHI_3_5_MINI_LONG}  # fmt: skip
PHI_4_MINI = PHI_3_5_MINI | {"vocab_size": 200_064, "num_attention_heads": 24, "num_key_value_heads": 8,
                             "head_dim": 128, "partial_rotary_factor": 0.75, "tie_word_embeddings": True,
                             "rope_scaling": longrope(PHI_4_MINI_SHORT, 4096, 131_072),
                             "long_factor": PHI_4_MINI_LONG}  # fmt: skip
EXTENDED: Row = {"max_position_embeddings": 131_072}

# name, repository, parameters, model_type, hyper-parameters
ROWS: tuple[tuple[str, str, int, str, Row], ...] = (
    ("phi-2", "microsoft/phi-2", 2_779_683_840, "phi", PHI_2),
    ("phi-3-mini", "microsoft/Phi-3-mini-4k-instruct", 3_821_079_552, "phi3", PHI_3_MINI),
    # The same weights for texts up to 4,096 tokens, and for longer ones: positions turn at other speeds.
    ("phi-3.5-mini", "microsoft/Phi-3.5-mini-instruct", 3_821_079_552, "phi3", PHI_3_5_MINI),
    ("phi-3.5-mini-128k", "microsoft/Phi-3.5-mini-instruct", 3_821_079_552, "phi3", PHI_3_5_MINI | EXTENDED),
    ("phi-4-mini", "microsoft/Phi-4-mini-instruct", 3_836_021_760, "phi3", PHI_4_MINI),
    ("phi-4-mini-128k", "microsoft/Phi-4-mini-instruct", 3_836_021_760, "phi3", PHI_4_MINI | EXTENDED),
)

CONFIGS: dict[str, tuple[str, Row]] = {name: (model_type, row) for name, *_, model_type, row in ROWS}
VARIANTS = tuple(
    Variant(
        name=name,
        source=source,
        parameters=parameters,
        context_length=row["max_position_embeddings"],
        license="mit",
        stop_tokens=("<|endoftext|>",) if model_type == "phi" else ("<|end|>", "<|endoftext|>"),
    )
    for name, source, parameters, model_type, row in ROWS
)
