"""Tokenizers with the pre-tokenizers of published families, trained on the sample text; small, but cut alike."""

from __future__ import annotations

import functools
import json
from typing import Any

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from edgegen_bundles.sentencepiece.sample_text import sample_text

_CONTRACTIONS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_TAIL = r"|\s*[\r\n]+|\s+(?!\S)|\s+"
_UPPER, _LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
SPLITS = {
    "gpt2": None,
    "smollm": None,
    "llama3": _CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*" + _TAIL,
    "qwen2": _CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*" + _TAIL,
    "gpt4o": rf"[^\r\n\p{{L}}\p{{N}}]?{_UPPER}*{_LOWER}+{_CONTRACTIONS}?"
    rf"|[^\r\n\p{{L}}\p{{N}}]?{_UPPER}+{_LOWER}*{_CONTRACTIONS}?"
    r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*" + _TAIL,
}
"""Family -> its rule; None for the one that comes with byte-level tokenizers."""

TRICKY = """\
Runs:  two   three    four, at an end\x20\x20
    indented, and `so' "quoted" 'so' and 'tis; it's, they'll, x'so, o'reilly's.


Three line feeds above, one tab\there,\t\ttwo, and\r\na Windows end.\r\n\r\n
Numbers: 1 12 123 1234 12345678, 3.14  27   1000, "(1)--(see 2)". (a)--"b" c,--(d) e["f"]...
def get(self):
\t\treturn self.data[0].get("key")  # --(so)

\n    class A:
"""
"""What pre-tokenizers cut in ways of their own."""


@functools.cache
def trained(family: str, *, vocabulary: int = 2500) -> bytes:
    """``tokenizer.json``."""
    tokenizer = Tokenizer(models.BPE(ignore_merges=family == "llama3"))
    split = SPLITS[family]
    steps: list[Any] = [pre_tokenizers.Digits(individual_digits=True)] if family == "smollm" else []
    if split:
        steps.append(pre_tokenizers.Split(Regex(split), "isolated"))
    steps.append(pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=split is None))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(steps)
    tokenizer.decoder = decoders.ByteLevel()
    if family == "qwen2":
        tokenizer.normalizer = normalizers.NFC()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        special_tokens=[AddedToken(name, special=True) for name in ("<|end|>", "<|user|>")],
        show_progress=False,
    )
    numbers = " ".join(map(str, range(0, 3000, 3)))
    code = "\n".join(f"    x.get({i}):\n\t\treturn--({i})...\n\n\n    self.x['key'].get(y)" for i in range(50))
    tokenizer.train_from_iterator([sample_text() + numbers, code, "don't I'll 'so' (so) \"so\" " * 20], trainer)
    return str(tokenizer.to_str()).encode()


@functools.cache
def metaspace() -> bytes:
    """A vocabulary as converted from SentencePiece: spaces as U+2581, bytes for what it lacks."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")])
    special = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    trainer = trainers.BpeTrainer(vocab_size=1200, special_tokens=special, show_progress=False)
    tokenizer.train_from_iterator(sample_text().splitlines()[:400], trainer)
    document = json.loads(tokenizer.to_str())
    document["added_tokens"] = document["added_tokens"][:3]
    return json.dumps(document).encode()
