"""What does not match between a checkpoint and a model, in few lines."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from edgegen.errors import CheckpointError, ErrorCode
from edgegen.weights.tensors import Checkpoint

_LINES = 12
"""Lines of one kind; a wholly different checkpoint would fill screens."""

_CONVENTIONS: Mapping[str, tuple[str, ...]] = {
    "huggingface": ("model.layers.*.self_attn.q_proj.weight", "model.embed_tokens.weight"),
    "gguf": ("blk.*.attn_q.weight", "token_embd.weight"),
    "gemma-pytorch": ("model.layers.*.self_attn.qkv_proj.weight", "embedder.weight"),
    "llama-original": ("layers.*.attention.wq.weight", "tok_embeddings.weight"),
    "gpt2": ("transformer.h.*.attn.c_attn.weight", "transformer.wte.weight", "h.*.attn.c_attn.weight"),
    "gpt-neox": ("gpt_neox.layers.*.attention.query_key_value.weight", "gpt_neox.embed_in.weight"),
    "openelm": ("transformer.layers.*.attn.qkv_proj.weight", "transformer.token_embeddings.weight"),
}
"""Naming convention -> patterns that give it away."""

_SYMPTOMS: tuple[tuple[str, str], ...] = (
    (r"lora_[AB]\b", "this is a LoRA adapter; merge it into its base model first"),
    (
        r"\.(qweight|qzeros|weight_packed|absmax)$",
        "already quantized for a GPU runtime; use the original weights",
    ),
    (
        r"^(module|_orig_mod|_forward_module)\.",
        "saved from a wrapped model; strip the first part of every name",
    ),
    (r"^(score|v_head|value_head|classifier|qa_outputs)\b", "it has another head: a classifier or a reward model"),
    (r"\.experts\.", "a mixture of experts; the family's models have none"),
    (r"^(language_model|model\.language_model)\.", "a multimodal checkpoint; its text part has other names"),
)
"""Regular expression on a left-over name -> what it means."""


@dataclass
class WeightDiff:
    """Collects every mismatch, then raises once.

    Names that differ only in numbers are one line; all that is shown is in the order it was found.
    """

    subject: str
    checkpoint: Checkpoint
    _missing: dict[str, list[str]] = field(default_factory=dict)
    _unmapped: list[str] = field(default_factory=list)
    _misshapen: dict[tuple[str, str, str], int] = field(default_factory=dict)
    _unexpected: list[str] = field(default_factory=list)

    def missing(self, parameter: str, tensors: Iterable[str]) -> None:
        """The checkpoint lacks tensors that a parameter is made of."""
        for tensor in tensors:
            self._missing.setdefault(tensor, []).append(parameter)

    def unmapped(self, parameter: str) -> None:
        """The weight map has no rule for a parameter: a mistake in the map rather than in the checkpoint."""
        self._unmapped.append(parameter)

    def misshapen(self, parameter: str, tensors: Sequence[str], found: str, expected: Sequence[int]) -> None:
        """A parameter's tensors are there but give another shape."""
        name = ", ".join(map(pattern_of, tensors))
        key = (name, found, str(list(expected)))
        self._misshapen[key] = self._misshapen.get(key, 0) + 1

    def unexpected(self, tensor: str) -> None:
        """The checkpoint has a tensor that nothing uses."""
        self._unexpected.append(tensor)

    def raise_if_any(self) -> None:
        """Raise what was collected.

        Raises:
            CheckpointError: code ``EG204``.
        """
        details = self.details()
        if details:
            raise CheckpointError(
                f"checkpoint does not match {self.subject} (format {self.checkpoint.format})",
                code=ErrorCode.WEIGHTS_MISMATCH,
                details=details,
                hint=self.hint(),
            )

    def __len__(self) -> int:
        """Number of tensors that do not match."""
        return len(self._missing) + len(self._unmapped) + sum(self._misshapen.values()) + len(self._unexpected)

    def details(self) -> list[str]:
        """What was collected, in lines for people."""
        missing = _grouped(self._missing)
        unexpected = _grouped(self._unexpected)
        owners = {pattern_of(name): pattern_of(parameters[0]) for name, parameters in self._missing.items()}
        lines = [
            *_lines("missing", {name: [_count(count), f"for {owners[name]}"] for name, count in missing.items()}),
            *_lines("unexpected", {n: [_count(c), _closest(n, missing)] for n, c in unexpected.items()}),
        ]
        shapes: dict[str, list[str]] = {}
        for (name, found, expected), count in self._misshapen.items():
            shapes[name] = [_count(count), f"is {found}, expected {expected}"]
        unmapped = {name: [_count(count)] for name, count in _grouped(self._unmapped).items()}
        return [*lines, *_lines("shape", shapes), *_lines("no rule for", unmapped)]

    def hint(self) -> str | None:
        """What it probably means."""
        for expression, meaning in _SYMPTOMS:
            if any(re.search(expression, name) for name in self._unexpected):
                return meaning
        present = {pattern_of(name) for name in self.checkpoint.tensors}
        naming = _convention(present)
        wanted = _convention({pattern_of(name) for name in self._missing})
        if naming and naming != self.checkpoint.naming and (self._missing or self._unexpected):
            return (
                f"looks like {naming} naming, but was read as {self.checkpoint.naming}; "
                f"add --checkpoint-format {naming} if that is installed (edgegen list-plugins)"
            )
        if naming and wanted and naming != wanted:
            return f"the tensors have {naming} names, but the weight map is for {wanted} names"
        return self._general_hint()

    def _general_hint(self) -> str:
        if self._unmapped:
            return "the family's weight map lacks rules; report it to the family's authors"
        if self._misshapen and not self._missing and all(map(_differs_in_rows, self._misshapen)):
            return (
                "only the vocabulary differs: export the family instead of the variant, with the config.json of this "
                "checkpoint beside it"
            )
        if self._misshapen or self._missing:
            return "is this another size or flavour of the model? edgegen list-models shows what there is"
        return "the checkpoint has more than the model; is it another variant? see edgegen list-models"


def _differs_in_rows(misshapen: tuple[str, str, str]) -> bool:
    """Whether a table of tokens has another number of rows, and that is all."""
    name, found, expected = misshapen
    rest = [re.fullmatch(r"\[\d+(.*)\]", shape) for shape in (found, expected)]
    alike = all(rest) and len({match[1] for match in rest if match}) == 1
    return alike and re.search(r"embed|embd|lm_head|output\.weight|wte", name) is not None


def pattern_of(name: str) -> str:
    """A name with its numbers replaced, so that layers fall together: ``blk.0.x`` -> ``blk.*.x``."""
    return ".".join("*" if part.isdecimal() else part for part in name.split("."))


def _grouped(names: Iterable[str]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for name in names:
        pattern = pattern_of(name)
        counts[pattern] = counts.get(pattern, 0) + 1
    return counts


def _count(count: int) -> str:
    return "1 tensor" if count == 1 else f"{count} tensors"


def _closest(name: str, candidates: Iterable[str]) -> str:
    pool = [candidate for candidate, _ in zip(candidates, range(100), strict=False)]
    found = difflib.get_close_matches(name, pool, n=1)
    return f"close to: {found[0]}" if found else ""


def _lines(kind: str, rows: Mapping[str, Sequence[str]]) -> list[str]:
    """Aligned columns under one label."""
    shown = list(rows.items())[:_LINES]
    if not shown:
        return []
    name_width = max(len(name) for name, _ in shown)
    count_width = max(len(cells[0]) for _, cells in shown)
    lines = [
        f"{kind:<11} {name:<{name_width}}  {cells[0]:<{count_width}}  {'  '.join(cells[1:])}".rstrip()
        for name, cells in shown
    ]
    rest = len(rows) - len(shown)
    return [*lines, f"{kind:<11} ... and {rest} more names"] if rest else lines


def _convention(patterns: set[str]) -> str | None:
    """The naming convention whose tell-tale names are in the checkpoint."""
    scores = {naming: sum(mark in patterns for mark in marks) for naming, marks in _CONVENTIONS.items()}
    best = max(scores, key=lambda naming: scores[naming])
    return best if scores[best] else None
