"""Published models: one row each, with the hyper-parameters of its ``config.json``.

Imports neither torch nor numpy, so that listing models stays fast.
"""

from __future__ import annotations

from typing import Any

from edgegen.descriptors import Variant
from edgegen_layers.rotary_scaling import llama3_scaling

Row = dict[str, Any]
"""Keyword arguments of :class:`edgegen_layers.families.llama.LlamaConfig`."""

_SMOLLM: Row = {"vocab_size": 49_152, "head_dim": 64, "max_position_embeddings": 2048, "tie_word_embeddings": True}
SMOLLM_135M: Row = {**_SMOLLM, "hidden_size": 576, "intermediate_size": 1536, "num_hidden_layers": 30,
                    "num_attention_heads": 9, "num_key_value_heads": 3}  # fmt: skip
SMOLLM_360M: Row = {**_SMOLLM, "hidden_size": 960, "intermediate_size": 2560, "num_hidden_layers": 32,
                    "num_attention_heads": 15, "num_key_value_heads": 5}  # fmt: skip
SMOLLM_1_7B: Row = {**_SMOLLM, "hidden_size": 2048, "intermediate_size": 8192, "num_hidden_layers": 24,
                    "num_attention_heads": 32, "num_key_value_heads": 32}  # fmt: skip
SMOLLM2_135M = SMOLLM_135M | {"max_position_embeddings": 8192, "rope_theta": 100_000.0}
SMOLLM2_360M = SMOLLM_360M | {"max_position_embeddings": 8192, "rope_theta": 100_000.0}
SMOLLM2_1_7B = SMOLLM_1_7B | {"max_position_embeddings": 8192, "rope_theta": 130_000.0}

TINYLLAMA: Row = {"vocab_size": 32_000, "hidden_size": 2048, "intermediate_size": 5632, "num_hidden_layers": 22,
                  "num_attention_heads": 32, "num_key_value_heads": 4, "head_dim": 64,
                  "max_position_embeddings": 2048}  # fmt: skip
LLAMA2_7B: Row = {"vocab_size": 32_000, "hidden_size": 4096, "intermediate_size": 11_008, "num_hidden_layers": 32,
                  "num_attention_heads": 32, "num_key_value_heads": 32, "head_dim": 128,
                  "max_position_embeddings": 4096}  # fmt: skip
LLAMA3_8B = LLAMA2_7B | {"vocab_size": 128_256, "intermediate_size": 14_336, "num_key_value_heads": 8,
                         "max_position_embeddings": 8192, "rope_theta": 500_000.0}  # fmt: skip
LLAMA31_8B = LLAMA3_8B | {"max_position_embeddings": 131_072,
                          "rope_scaling": llama3_scaling(128, 500_000.0, factor=8.0)}  # fmt: skip
LLAMA32_3B = LLAMA31_8B | {"hidden_size": 3072, "intermediate_size": 8192, "num_hidden_layers": 28,
                           "num_attention_heads": 24, "tie_word_embeddings": True,
                           "rope_scaling": llama3_scaling(128, 500_000.0, factor=32.0)}  # fmt: skip
LLAMA32_1B = LLAMA32_3B | {"hidden_size": 2048, "num_hidden_layers": 16, "num_attention_heads": 32, "head_dim": 64,
                           "rope_scaling": llama3_scaling(64, 500_000.0, factor=32.0)}  # fmt: skip
MISTRAL_7B = LLAMA3_8B | {"vocab_size": 32_768, "max_position_embeddings": 32_768, "rope_theta": 1e6}

END, CHAT, TEXT = ("<|endoftext|>",), ("<|im_end|>", "<|endoftext|>"), ("<|end_of_text|>",)
EOT, CLOSE, EOS = ("<|eot_id|>", "<|end_of_text|>"), ("</s>",), ("<｜end▁of▁sentence｜>",)  # noqa: RUF001 (spelt so)

# fmt: off
# name, repository, parameters, licence, stop tokens, hyper-parameters
ROWS: tuple[tuple[str, str, int, str, tuple[str, ...], Row], ...] = (
    ("smollm-135m", "HuggingFaceTB/SmolLM-135M", 134_515_008, "apache-2.0", END, SMOLLM_135M),
    ("smollm-360m", "HuggingFaceTB/SmolLM-360M", 361_821_120, "apache-2.0", END, SMOLLM_360M),
    ("smollm-1.7b", "HuggingFaceTB/SmolLM-1.7B", 1_711_376_384, "apache-2.0", END, SMOLLM_1_7B),
    ("smollm2-135m", "HuggingFaceTB/SmolLM2-135M", 134_515_008, "apache-2.0", END, SMOLLM2_135M),
    ("smollm2-135m-instruct", "HuggingFaceTB/SmolLM2-135M-Instruct", 134_515_008, "apache-2.0", CHAT, SMOLLM2_135M),
    ("smollm2-360m", "HuggingFaceTB/SmolLM2-360M", 361_821_120, "apache-2.0", END, SMOLLM2_360M),
    ("smollm2-360m-instruct", "HuggingFaceTB/SmolLM2-360M-Instruct", 361_821_120, "apache-2.0", CHAT, SMOLLM2_360M),
    ("smollm2-1.7b", "HuggingFaceTB/SmolLM2-1.7B", 1_711_376_384, "apache-2.0", END, SMOLLM2_1_7B),
    ("smollm2-1.7b-instruct", "HuggingFaceTB/SmolLM2-1.7B-Instruct", 1_711_376_384, "apache-2.0", CHAT, SMOLLM2_1_7B),
    ("tinyllama-1.1b", "TinyLlama/TinyLlama-1.1B-Chat-v1.0", 1_100_048_384, "apache-2.0", CLOSE, TINYLLAMA),
    ("llama2-7b", "meta-llama/Llama-2-7b-hf", 6_738_415_616, "llama2", CLOSE, LLAMA2_7B),
    ("llama2-7b-chat", "meta-llama/Llama-2-7b-chat-hf", 6_738_415_616, "llama2", CLOSE, LLAMA2_7B),
    ("llama3-8b", "meta-llama/Meta-Llama-3-8B", 8_030_261_248, "llama3", TEXT, LLAMA3_8B),
    ("llama3-8b-instruct", "meta-llama/Meta-Llama-3-8B-Instruct", 8_030_261_248, "llama3", EOT, LLAMA3_8B),
    ("llama3.1-8b", "meta-llama/Llama-3.1-8B", 8_030_261_248, "llama3.1", TEXT, LLAMA31_8B),
    ("llama3.1-8b-instruct", "meta-llama/Llama-3.1-8B-Instruct", 8_030_261_248, "llama3.1", EOT, LLAMA31_8B),
    ("llama3.2-1b", "meta-llama/Llama-3.2-1B", 1_235_814_400, "llama3.2", TEXT, LLAMA32_1B),
    ("llama3.2-1b-instruct", "meta-llama/Llama-3.2-1B-Instruct", 1_235_814_400, "llama3.2", EOT, LLAMA32_1B),
    ("llama3.2-3b", "meta-llama/Llama-3.2-3B", 3_212_749_824, "llama3.2", TEXT, LLAMA32_3B),
    ("llama3.2-3b-instruct", "meta-llama/Llama-3.2-3B-Instruct", 3_212_749_824, "llama3.2", EOT, LLAMA32_3B),
    ("deepseek-r1-distill-llama-8b", "deepseek-ai/DeepSeek-R1-Distill-Llama-8B", 8_030_261_248, "mit", EOS, LLAMA31_8B),
    ("mistral-7b-v0.3", "mistralai/Mistral-7B-v0.3", 7_248_023_552, "apache-2.0", CLOSE, MISTRAL_7B),
    ("mistral-7b-instruct-v0.3", "mistralai/Mistral-7B-Instruct-v0.3", 7_248_023_552, "apache-2.0", CLOSE, MISTRAL_7B),
)
# fmt: on

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
