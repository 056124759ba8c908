"""Published models: one row each, with the hyper-parameters of its ``config.json``.

Imports neither torch nor numpy, so that listing models stays fast.
"""

from __future__ import annotations

from typing import Any

from edgegen.descriptors import Variant

Row = dict[str, Any]
"""Keyword arguments of :class:`edgegen_layers.families.llama.LlamaConfig`."""

QWEN2: Row = {"attention_bias": True}
QWEN3: Row = {"qk_norm": True}
"""Hyper-parameters that ``model_type`` implies and ``config.json`` does not state."""

_ALL: Row = {"vocab_size": 151_936, "rope_theta": 1e6, "rms_norm_eps": 1e-6, "tie_word_embeddings": True}
HALF: Row = {**_ALL, **QWEN2, "hidden_size": 896, "intermediate_size": 4864, "num_hidden_layers": 24,
             "num_attention_heads": 14, "num_key_value_heads": 2, "head_dim": 64,
             "max_position_embeddings": 32_768}  # fmt: skip
ONE_AND_A_HALF = HALF | {"hidden_size": 1536, "intermediate_size": 8960, "num_hidden_layers": 28,
                         "num_attention_heads": 12, "head_dim": 128}  # fmt: skip
THREE = HALF | {"hidden_size": 2048, "intermediate_size": 11_008, "num_hidden_layers": 36,
                "num_attention_heads": 16, "head_dim": 128}  # fmt: skip
QWEN3_06: Row = {**_ALL, **QWEN3, "hidden_size": 1024, "intermediate_size": 3072, "num_hidden_layers": 28,
                 "num_attention_heads": 16, "num_key_value_heads": 8, "head_dim": 128,
                 "max_position_embeddings": 40_960}  # fmt: skip
QWEN3_17 = QWEN3_06 | {"hidden_size": 2048, "intermediate_size": 6144}
QWEN3_4 = QWEN3_06 | {"hidden_size": 2560, "intermediate_size": 9728, "num_hidden_layers": 36,
                      "num_attention_heads": 32}  # fmt: skip

TURN, TEXT = ("<|im_end|>", "<|endoftext|>"), ("<|endoftext|>",)

# name, repository, parameters, licence, stop tokens, hyper-parameters
ROWS: tuple[tuple[str, str, int, str, tuple[str, ...], Row], ...] = (
    ("qwen2-0.5b-instruct", "Qwen/Qwen2-0.5B-Instruct", 494_032_768, "apache-2.0", TURN, HALF),
    ("qwen2-1.5b-instruct", "Qwen/Qwen2-1.5B-Instruct", 1_543_714_304, "apache-2.0", TURN, ONE_AND_A_HALF),
    ("qwen2.5-0.5b", "Qwen/Qwen2.5-0.5B", 494_032_768, "apache-2.0", TEXT, HALF),
    ("qwen2.5-0.5b-instruct", "Qwen/Qwen2.5-0.5B-Instruct", 494_032_768, "apache-2.0", TURN, HALF),
    ("qwen2.5-1.5b-instruct", "Qwen/Qwen2.5-1.5B-Instruct", 1_543_714_304, "apache-2.0", TURN, ONE_AND_A_HALF),
    ("qwen2.5-3b-instruct", "Qwen/Qwen2.5-3B-Instruct", 3_085_938_688, "qwen-research", TURN, THREE),
    ("qwen3-0.6b", "Qwen/Qwen3-0.6B", 596_049_920, "apache-2.0", TURN, QWEN3_06),
    ("qwen3-1.7b", "Qwen/Qwen3-1.7B", 1_720_574_976, "apache-2.0", TURN, QWEN3_17),
    ("qwen3-4b", "Qwen/Qwen3-4B", 4_022_468_096, "apache-2.0", TURN, QWEN3_4),
)

CONFIGS: dict[str, Row] = {row[0]: row[-1] for row in ROWS}
VARIANTS = tuple(
    Variant(
        name=name,
        source=source,
        parameters=parameters,
        context_length=row["max_position_embeddings"],
        license=terms,
        stop_tokens=stop,
    )
    for name, source, parameters, terms, stop, row in ROWS
)
