"""Verification: an exported file against the eager float model, same weights, on a short text.

Each task runs its models in its own way, see :mod:`edgegen.export.tasks`; this module has what they share. The text is
the file's own: it continues the start-of-text token, sampling from its logits with a fixed seed, so no tokenizer is
needed and the text is like what the model was trained on. The eager model then reads the text once, and both must agree
on what comes after every token. The file's prefill signatures are checked by reading the beginning of the text through
each of them, filled and padded as runtimes do.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from edgegen.errors import ErrorCode, VerificationError
from edgegen.export.reference import Reference
from edgegen.export.results import LogitsVerification, worst
from edgegen.genai.signature_names import SignatureGroup, signature_groups
from edgegen.litert.session import Session, State, StaticInputs
from edgegen.modeling import CausalLM
from edgegen.module_calls import module_code

Array = npt.NDArray[Any]
Logits = npt.NDArray[np.float32]

LENGTH = 32
"""Tokens in the text."""

PACKED_FILE = "packed.xnnpack_cache"

_PACKED_IN_MEMORY = 512 << 20
"""Bytes of packed weights from which on they are kept in a file: slower, but pages of a file can be dropped."""

_CANDIDATES = 40
_SEED = 0


def packs_on_disk(weight_bytes: int) -> bool:
    """True if the runtime's packed weights go to a file while verifying, whose pages can be dropped.

    Args:
        weight_bytes: size of all weights in the file.
    """
    return weight_bytes > _PACKED_IN_MEMORY


def open_session(path: Path, weight_bytes: int) -> Session:
    """A session on the file at ``path``; may leave :data:`PACKED_FILE` beside it."""
    return Session(path, weight_cache=path.with_name(PACKED_FILE) if packs_on_disk(weight_bytes) else None)


def compare_logits(
    session: Session,
    reference: Reference,
    start: int,
    static_inputs: StaticInputs,
    eager: Callable[[list[int]], Logits],
) -> LogitsVerification:
    """Compare the file's logits for a text that it writes itself with the eager model's for the same text.

    Args:
        session: the file.
        reference: the float model.
        start: first token of the text.
        static_inputs: further inputs, the same for every token.
        eager: ``(tokens) -> [T, V]`` logits, called while the model's weights can be read.
    """
    groups = signature_groups(session.signatures)
    reads = [
        (group, name, length, read)
        for group in groups
        for length, name in (*group.prefill.items(), *group.verify.items())
        for read in _reads(length, group.cache or reference.cache_length, reference.max_rollback)
    ]
    length = min(max([LENGTH, *(read + 1 for *_, read in reads)]), reference.cache_length)
    tokens, outputs = write_text(session, groups[-1], start, length, static_inputs)
    decoded = np.stack([output["logits"][0, 0] for output in outputs])
    with reference.loaded():
        expected = eager(tokens)
    return LogitsVerification(
        positions=length,
        logits_error=_error(decoded, expected),
        top1=float(np.mean(decoded.argmax(-1) == expected.argmax(-1))),
        prefill_error=worst(
            _prefill_error(session, group, name, length, tokens[: read + 1], decoded, static_inputs)
            for group, name, length, read in reads
        ),
    )


def first_logits_error(
    session: Session, group: SignatureGroup, token: int, expected: StaticInputs, got: StaticInputs
) -> float:
    """Error of the logits after one token between two sets of static inputs that should make no difference."""
    after = (_decode(session, group, session.new_state(group.names, inputs), [token], 0) for inputs in (got, expected))
    return _error(*after)


def write_text(
    session: Session, group: SignatureGroup, start: int, length: int, static_inputs: StaticInputs
) -> tuple[list[int], list[dict[str, Array]]]:
    """Sample ``length`` tokens from a file with a fixed seed; returns them, and the outputs after each."""
    generator = np.random.default_rng(_SEED)
    state = session.new_state(group.names, static_inputs)
    tokens, outputs = [start], []
    while True:
        outputs.append(_step(session, group, state, tokens, len(tokens) - 1))
        if len(tokens) == length:
            return tokens, outputs
        tokens.append(_sample(outputs[-1]["logits"][0, 0], generator))


def read_text(session: Session, group: SignatureGroup, tokens: list[int], static_inputs: StaticInputs) -> Logits:
    """Logits ``[T, V]`` of a file that reads a text token by token."""
    state = session.new_state(group.names, static_inputs)
    return np.stack([_decode(session, group, state, tokens, position) for position in range(len(tokens))])


def joined(outputs: Sequence[Mapping[str, Array]]) -> dict[str, Array]:
    """Concatenate outputs of one token each, ``[1, 1, ...]``, along the tokens."""
    return {name: np.concatenate([output[name] for output in outputs], axis=1) for name in outputs[0]}


def _step(session: Session, group: SignatureGroup, state: State, tokens: list[int], position: int) -> dict[str, Array]:
    inputs = {
        "tokens": np.array([[tokens[position]]], np.int32),
        "input_pos": np.array([position], np.int32),
    }
    return session.run(group.decode, inputs, state)


def _decode(session: Session, group: SignatureGroup, state: State, tokens: list[int], position: int) -> Logits:
    logits: Logits = _step(session, group, state, tokens, position)["logits"][0, 0]
    return logits


def _sample(logits: Logits, generator: np.random.Generator) -> int:
    if not np.isfinite(logits).all():
        raise VerificationError(
            "the exported file gives logits that are no numbers",
            code=ErrorCode.VERIFICATION_FAILED,
            details=[f"of {logits.size} after a token, {int((~np.isfinite(logits)).sum())} are NaN or infinite"],
            hint="the file is damaged, or numbers overflow: export it again, with --scheme fp32 to tell the two apart",
        )
    candidates = np.argpartition(logits, -_CANDIDATES)[-_CANDIDATES:] if logits.size > _CANDIDATES else None
    chosen = np.arange(logits.size) if candidates is None else np.sort(candidates)
    weights = np.exp(logits[chosen] - logits[chosen].max())
    return int(generator.choice(chosen, p=weights / weights.sum()))


def _reads(length: int, slots: int, max_rollback: int | None) -> list[int]:
    """Numbers of tokens that a signature of ``length`` tokens is checked with: those that fill it, if they are few, and
    fewer, padded as runtimes do. The padding can be forgotten, and a slot is left for the next token."""
    least = 1 if max_rollback is None else max(length - max_rollback, 1)
    filled = min(length, LENGTH // 2)
    padded = filled // 2 if filled == length else filled
    return sorted({read for read in (max(filled, least), max(padded, least)) if read < slots})


def _prefill_error(
    session: Session,
    group: SignatureGroup,
    signature: str,
    length: int,
    tokens: list[int],
    decoded: Logits,
    static_inputs: StaticInputs,
) -> float:
    """Read all tokens but the last with one signature, padded to its ``length``, and the last with ``decode``."""
    read = len(tokens) - 1
    padded = [*tokens[:read], *[0] * (length - read)]
    state = session.new_state(group.names, static_inputs)
    positions = np.arange(length, dtype=np.int32)
    outputs = session.run(signature, {"tokens": np.array([padded], np.int32), "input_pos": positions}, state)
    error = _error(_decode(session, group, state, tokens, read), decoded[read])
    if "logits" in outputs:
        error = worst([error, *map(_error, outputs["logits"][0, :read], decoded[:read])])
    return error


def _error(got: Logits, expected: Logits) -> float:
    reference = _centred(expected)
    return float(np.linalg.norm(_centred(got) - reference) / np.linalg.norm(reference))


def _centred(logits: Logits) -> Logits:
    centred: Logits = logits - logits.mean(axis=-1, keepdims=True)
    return centred


def eager_logits(module: CausalLM, tokens: list[int], adapter: Any = None) -> Logits:
    """Logits of a decoder on CPU tensors, ``[T, V]``.

    Args:
        module: its weights can be read.
        tokens: T token ids.
        adapter: adapter argument of the module's call; None for none.
    """
    ids, positions = torch.tensor([tokens], dtype=torch.int32), torch.arange(len(tokens), dtype=torch.int32)
    with torch.no_grad(), torch.device("cpu"):
        with module_code(module, "new_cache"):
            cache = module.new_cache(len(tokens), device="cpu")
        extra = () if adapter is None else (adapter,)
        with module_code(module, "forward"):
            logits: Logits = module(ids, positions, cache, *extra)["logits"][0].numpy()
    return logits
