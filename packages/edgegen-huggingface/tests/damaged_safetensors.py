"""Damages of safetensors files, their index, and the JSON files beside them."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from edgegen.testing.damage import (
    DEEP,
    HUGE,
    Corpus,
    Fifo,
    Folder,
    Link,
    Mutation,
    Sparse,
    edit,
    edit_json,
    empty,
    flip,
    merged,
    put,
    said,
    swap,
    truncate,
    without,
)

CASES = Corpus()

SAFETENSORS, INDEX = "model.safetensors", "model.safetensors.index.json"
SHARD = "model-00002-of-00002.safetensors"
CONFIG, TOKENIZER, SETTINGS, GENERATION = (
    "config.json", "tokenizer.json", "tokenizer_config.json", "generation_config.json",
)  # fmt: skip
FIRST = "model.norm.weight"


def header_of(content: bytes) -> dict[str, Any]:
    (length,) = struct.unpack_from("<Q", content)
    header: dict[str, Any] = json.loads(content[8 : 8 + length])
    return header


def with_header(header: bytes, content: bytes) -> bytes:
    """Another header before the same data."""
    (length,) = struct.unpack_from("<Q", content)
    return struct.pack("<Q", len(header)) + header + content[8 + length :]


def write_safetensors(tensors: Mapping[str, np.ndarray]) -> bytes:
    header, data = {}, b""
    for name, numbers in tensors.items():
        raw = numbers.tobytes()
        header[name] = {"dtype": "F32", "shape": numbers.shape, "data_offsets": (len(data), len(data) + len(raw))}
        data += raw
    text = json.dumps({"__metadata__": {"format": "pt"}, **header}).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + data


def read_safetensors(content: bytes) -> dict[str, np.ndarray]:
    (length,) = struct.unpack_from("<Q", content)
    return {
        name: np.frombuffer(content[8 + length :][slice(*entry["data_offsets"])], "<f4").reshape(entry["shape"])
        for name, entry in header_of(content).items()
        if name != "__metadata__"
    }


for _base in ("safetensors", "sharded"):
    CASES.add("truncated", _base, "cut", truncate, 2)
CASES.add("truncated", "safetensors", "empty", empty)
CASES.add("truncated", "sharded", "cut index", edit(INDEX, lambda content: content[:-40]))
CASES.add("truncated", "safetensors", "one byte short", edit(SAFETENSORS, lambda content: content[:-1]))


def _safetensors_head(content: bytes) -> list[int]:
    return list(range(8 + struct.unpack_from("<Q", content)[0]))


def _said_by_header(content: bytes) -> Any:
    return {**header_of(content), "__metadata__": None}


def _said_by_index(content: bytes) -> Any:
    return json.loads(content)["weight_map"]


_ARCHITECTURE = (
    "attention_bias", "head_dim", "hidden_act", "hidden_size", "intermediate_size", "mlp_bias", "model_type",
    "num_attention_heads", "num_hidden_layers", "num_key_value_heads", "rms_norm_eps", "rope_parameters",
    "tie_word_embeddings", "vocab_size",
)  # fmt: skip


def _said_by_config(content: bytes) -> Any:
    document = json.loads(content)
    return {key: document.get(key, "absent") for key in _ARCHITECTURE}


for _base, _name, _places, _read, _count in (
    ("safetensors", SAFETENSORS, _safetensors_head, _said_by_header, 5),
    ("sharded", SHARD, _safetensors_head, _said_by_header, 2),
    ("sharded", INDEX, lambda content: list(range(len(content))), _said_by_index, 2),
    ("safetensors", CONFIG, lambda content: list(range(len(content))), _said_by_config, 2),
):
    CASES.add("flipped", _base, f"bit in {_name}", flip(_name, _places), _count, meaning=said(_read, _name))

_PICKLE = b"\x80\x02cposix\nsystem\nq\x00X\x0c\x00\x00\x00touch canaryq\x01\x85q\x02Rq\x03."
"""``os.system("touch canary")``, as a pickle."""

CASES.add("code", "safetensors", "a pickle by another name", put(SAFETENSORS, _PICKLE))


def _retype(dtype: Any) -> Mutation:
    def change(content: bytes) -> bytes:
        header = header_of(content)
        header["model.layers.1.self_attn.o_proj.weight"]["dtype"] = dtype
        return with_header(json.dumps(header).encode(), content)

    return edit(SAFETENSORS, change)


for _dtype in ("F16", "I32", "U32", "F33", None):
    CASES.add("types", "safetensors", f"{_dtype!r} for F32", _retype(_dtype))


def _entry(change: Callable[[dict[str, Any]], Any]) -> Mutation:
    """Change the header of a safetensors file."""

    def edited(content: bytes) -> bytes:
        header = header_of(content)
        change(header)
        return with_header(json.dumps(header).encode(), content)

    return edit(SAFETENSORS, edited)


def _first_entry(**values: Any) -> Mutation:
    return _entry(lambda header: header[FIRST].update(values))


def _duplicate(header: dict[str, Any]) -> str:
    text = json.dumps(header)
    return text.replace("layers.1.mlp.up_proj", "layers.0.mlp.up_proj")


def _overlap(header: dict[str, Any]) -> None:
    header["model.layers.0.mlp.up_proj.weight"]["data_offsets"] = header["model.layers.1.mlp.up_proj.weight"][
        "data_offsets"
    ]


CASES.add("sizes", "safetensors", "header of 100 MB", edit(SAFETENSORS, lambda c: struct.pack("<Q", 10**8) + c[8:]))
CASES.add("sizes", "safetensors", "header of 2**60", edit(SAFETENSORS, lambda c: struct.pack("<Q", HUGE) + c[8:]))
CASES.add("sizes", "safetensors", "header of 0", edit(SAFETENSORS, lambda c: struct.pack("<Q", 0) + c[8:]))
CASES.add(
    "sizes", "safetensors", "header of 90 MB that is there",
    put(SAFETENSORS, Sparse(struct.pack("<Q", 90 * 2**20) + b"{", 90 * 2**20 + 8)),
)  # fmt: skip
CASES.add("sizes", "safetensors", "deep header", edit(SAFETENSORS, lambda c: with_header(b'{"a":' + DEEP + b"}", c)))
CASES.add("sizes", "safetensors", "header that is a list", edit(SAFETENSORS, lambda c: with_header(b"[]", c)))
CASES.add("sizes", "safetensors", "shape of 2**60", _first_entry(shape=[HUGE]))
CASES.add("sizes", "safetensors", "offsets of 2**60", _first_entry(data_offsets=[HUGE, HUGE + 256]))
CASES.add("sizes", "safetensors", "overlap", _entry(_overlap))
CASES.add("sizes", "safetensors", "gap", _entry(lambda header: header.pop("model.layers.0.mlp.up_proj.weight")))
CASES.add(
    "sizes", "safetensors", "duplicate", edit(SAFETENSORS, lambda c: with_header(_duplicate(header_of(c)).encode(), c))
)
CASES.add("sizes", "safetensors", "surplus", edit(SAFETENSORS, lambda content: content + b"surplus"))


def _shard_named(name: str) -> Mutation:
    def change(index: dict[str, Any]) -> None:
        index["weight_map"][FIRST] = name

    return edit_json(INDEX, change)


def _many(value: str, count: int) -> bytes:
    return b'{"weight_map":{' + b",".join(b'"%x":"%s"' % (i, value.encode()) for i in range(count)) + b"}}"


CASES.add("shards", "sharded", "missing", without(SHARD))
CASES.add("shards", "sharded", "swapped", swap)
CASES.add("shards", "sharded", "index is a list", put(INDEX, b"[]"))
CASES.add("shards", "sharded", "no index", without(INDEX))
CASES.add("shards", "sharded", "weight_map of numbers", edit_json(INDEX, merged(weight_map={FIRST: 7})))
CASES.add("shards", "sharded", "index lists too much", edit_json(INDEX, lambda i: i["weight_map"].update(more=SHARD)))
CASES.add("shards", "sharded", "million entries", put(INDEX, _many(SHARD, 10**6)))
CASES.add("shards", "sharded", "million short entries", put(INDEX, _many("a", 10**6)))
CASES.add("shards", "sharded", "index is not UTF-8", put(INDEX, b'{"weight_map": {"\xff\xfe": "a"}}'))
for _path in ("../model.safetensors", "/etc/passwd", "..\\model.safetensors", "..", "", "a\0b", "x" * 5000):
    CASES.add("paths", "sharded", f"names {_path[:25]!r}", _shard_named(_path))
CASES.add("paths", "sharded", "names itself", _shard_named(INDEX))

for _base, _name in (
    ("safetensors", SAFETENSORS),
    ("sharded", SHARD),
    ("safetensors", CONFIG),
    ("safetensors", TOKENIZER),
):
    CASES.add("places", _base, f"pipe for {_name}", put(_name, Fifo()))
for _name in (SAFETENSORS, CONFIG, TOKENIZER):
    CASES.add("places", "safetensors", f"loop for {_name}", put(_name, Link(_name)))
    CASES.add("places", "safetensors", f"folder for {_name}", put(_name, Folder()))
CASES.add("places", "sharded", "link to nowhere", put(SHARD, Link("gone")))
CASES.add("places", "sharded", "folder for the index", put(INDEX, Folder()))

_CONFIGS: dict[str, Any] = {
    "list": lambda document: [document],
    "eps NaN": merged(rms_norm_eps=float("nan")),
    "eps of 400 digits": merged(rms_norm_eps=10**400),
    "rope is a list": merged(rope_parameters=[1, 2]),
    "rope scaling is a list": merged(rope_scaling=[["rope_type", "linear"]] * 2),
    "rope of text": merged(
        rope_parameters={
            "rope_type": "llama3",
            "factor": "8",
            "low_freq_factor": [],
            "high_freq_factor": 0,
            "original_max_position_embeddings": None,
        }
    ),
    "hidden_size 2**60": merged(hidden_size=HUGE, head_dim=None),
    "no heads": merged(num_attention_heads=0, head_dim=None),
    "layers 2**60": merged(num_hidden_layers=HUGE),
    "layers 10**8": merged(num_hidden_layers=10**8),
    "text part is a number": merged(text_config=7, num_hidden_layers=None),
    "surrogate": merged(**{"\ud800": "\udfff"}),
    "long value": merged(surprise=["x" * 1000] * 1000),
}

_BYTES = {
    "not UTF-8": b'{"hidden_size": "\xff\xfe"}',
    "deep": b'{"hidden_size": ' + DEEP + b"}",
    "number of 5000 digits": b'{"hidden_size": ' + b"9" * 5000 + b"}",
    "300 MB": Sparse(b"{", 300 * 2**20, b"}"),
}

for _what, _change in _CONFIGS.items():
    CASES.add("config", "safetensors", f"config: {_what}", edit_json(CONFIG, _change))
CASES.add(
    "config",
    "safetensors",
    "config: deep, but not too deep",
    edit(CONFIG, lambda c: c.rstrip()[:-1] + b',"x":' + b"[" * 900 + b"]" * 900 + b"}"),
)
for _what, _content in _BYTES.items():
    CASES.add("config", "safetensors", f"config: {_what}", put(CONFIG, _content))

_TOKENIZERS: dict[str, Any] = {
    "list": lambda document: [document],
    "empty object": lambda document: {"version": "1.0"},
    "added tokens of text": merged(added_tokens=["<s>", "</s>"]),
    "id of 10**30": merged(added_tokens=[{"id": 10**30, "content": "<s>"}]),
    "ids are negative": lambda document: document["model"].update(vocab={"<s>": -1, "</s>": -2}),
    "post-processor of numbers": merged(post_processor={"type": "TemplateProcessing", "single": [1]}),
}

for _what, _change in _TOKENIZERS.items():
    CASES.add("tokenizer", "safetensors", f"tokenizer: {_what}", edit_json(TOKENIZER, _change))
for _what, _content in _BYTES.items():
    CASES.add("tokenizer", "safetensors", f"tokenizer: {_what}", put(TOKENIZER, _content))
CASES.add("tokenizer", "safetensors", "cut", edit(TOKENIZER, lambda content: content[: len(content) // 2]))
CASES.add("tokenizer", "safetensors", "settings are a list", put(SETTINGS, b"[]"))
CASES.add("tokenizer", "safetensors", "template of surrogates", edit_json(SETTINGS, merged(chat_template="\ud800")))
CASES.add("tokenizer", "safetensors", "template is not UTF-8", put("chat_template.jinja", b"\xff\xfe"))
CASES.add(
    "tokenizer", "safetensors", "id of 5000 digits",
    edit_json(SETTINGS, merged(added_tokens_decoder={"9" * 5000: {"content": "<s>"}})),
)  # fmt: skip
CASES.add(
    "tokenizer",
    "safetensors",
    "start beyond the vocabulary",
    edit_json(SETTINGS, merged(added_tokens_decoder={"99999": {"content": "<s>"}})),
)
CASES.add("tokenizer", "safetensors", "generation is NaN", put(GENERATION, b"NaN"))
