"""Published models: one row each, with the hyper-parameters of its ``config.json``.

Imports neither torch nor numpy, so that listing models stays fast.
"""

from __future__ import annotations

from typing import Any

from edgegen.descriptors import Variant

Row = dict[str, Any]
"""Keyword arguments of :class:`edgegen_models_encoders.bert.BertConfig` or ``T5Config``."""

BASE: Row = {"vocab_size": 30_522, "hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12,
             "num_attention_heads": 12, "pooling": "mean", "normalize": False}  # fmt: skip
LARGE = BASE | {"hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24, "num_attention_heads": 16}
SMALL = BASE | {"hidden_size": 384, "intermediate_size": 1536, "normalize": True}

# name, repository, parameters, licence, hyper-parameters; pooling from modules.json and 1_Pooling/config.json
BERT_ROWS: tuple[tuple[str, str, int, str, Row], ...] = (
    ("bert-base-uncased", "google-bert/bert-base-uncased", 108_891_648, "apache-2.0", BASE),
    ("bert-base-cased", "google-bert/bert-base-cased", 107_719_680, "apache-2.0", BASE | {"vocab_size": 28_996}),
    ("bert-large-uncased", "google-bert/bert-large-uncased", 334_092_288, "apache-2.0", LARGE),
    ("all-minilm-l6-v2", "sentence-transformers/all-MiniLM-L6-v2", 22_565_376, "apache-2.0",
     SMALL | {"num_hidden_layers": 6}),
    ("all-minilm-l12-v2", "sentence-transformers/all-MiniLM-L12-v2", 33_212_160, "apache-2.0", SMALL),
    ("bge-small-en-v1.5", "BAAI/bge-small-en-v1.5", 33_212_160, "mit", SMALL | {"pooling": "cls"}),
    ("bge-base-en-v1.5", "BAAI/bge-base-en-v1.5", 108_891_648, "mit", BASE | {"pooling": "cls", "normalize": True}),
    ("e5-small-v2", "intfloat/e5-small-v2", 33_212_160, "mit", SMALL),
)  # fmt: skip

# T5's own words are d_model, d_ff, num_layers and num_heads.
T5_SMALL: Row = {"hidden_size": 512, "intermediate_size": 2048, "num_hidden_layers": 6, "num_decoder_layers": 6,
                 "num_attention_heads": 8}  # fmt: skip
T5_BASE: Row = {"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12, "num_decoder_layers": 12,
                "num_attention_heads": 12}  # fmt: skip
T5_LARGE: Row = {"hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24, "num_decoder_layers": 24,
                 "num_attention_heads": 16}  # fmt: skip
SECOND: Row = {"hidden_act": "gelu_tanh", "is_gated_act": True, "tie_word_embeddings": False,
               "scale_decoder_outputs": False}  # fmt: skip
FLAN_SMALL = T5_SMALL | SECOND | {"intermediate_size": 1024, "num_hidden_layers": 8, "num_decoder_layers": 8,
                                  "num_attention_heads": 6}  # fmt: skip
FLAN_BASE = T5_BASE | SECOND | {"intermediate_size": 2048}
FLAN_LARGE = T5_LARGE | SECOND | {"intermediate_size": 2816}

T5_ROWS: tuple[tuple[str, str, int, str, Row], ...] = (
    ("t5-small", "google-t5/t5-small", 60_506_624, "apache-2.0", T5_SMALL),
    ("t5-base", "google-t5/t5-base", 222_903_552, "apache-2.0", T5_BASE),
    ("t5-large", "google-t5/t5-large", 737_668_096, "apache-2.0", T5_LARGE),
    ("flan-t5-small", "google/flan-t5-small", 76_961_152, "apache-2.0", FLAN_SMALL),
    ("flan-t5-base", "google/flan-t5-base", 247_577_856, "apache-2.0", FLAN_BASE),
    ("flan-t5-large", "google/flan-t5-large", 783_150_080, "apache-2.0", FLAN_LARGE),
)

BERT_CONFIGS: dict[str, Row] = {row[0]: row[-1] for row in BERT_ROWS}
T5_CONFIGS: dict[str, Row] = {row[0]: row[-1] for row in T5_ROWS}


def _variants(rows: tuple[tuple[str, str, int, str, Row], ...], *stop_tokens: str) -> tuple[Variant, ...]:
    return tuple(
        Variant(name=name, source=source, parameters=size, context_length=512, license=terms, stop_tokens=stop_tokens)
        for name, source, size, terms, _ in rows
    )


BERT_VARIANTS = _variants(BERT_ROWS)
T5_VARIANTS = _variants(T5_ROWS, "</s>")
