"""Runs an exported file against the eager model: same weights, in float, on a short text.

What is run differs by the kind of model, see :mod:`edgegen.export.tasks`; here is what they share, and decoders. The
text is the file's own: it continues the start-of-text token, sampling from its logits with a fixed seed, so no
tokenizer is needed and the text is like what the model was trained on. The eager model then reads the text once,
and both must agree on what comes after every token. The file's prefill signatures are checked by reading the first
half of the text through each of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import numpy as np
import numpy.typing as npt
import torch

from edgegen.adapters.layout import LoraLayout, input_name
from edgegen.errors import ErrorCode, VerificationError
from edgegen.export.offloaded import streamed_weights
from edgegen.genai.signature_names import SignatureGroup, signature_groups
from edgegen.litert.session import Held, Session, State
from edgegen.weights.storage import Tolerance

if TYPE_CHECKING:
    from edgegen.export.job import Job

Array = npt.NDArray[Any]
Logits = npt.NDArray[np.float32]

LENGTH = 32
"""Tokens in the text."""

PACKED_FILE = "packed.xnnpack_cache"

_PACKED_IN_MEMORY = 512 << 20
"""Bytes of packed weights from which on they are kept in a file: slower, but pages of a file can be dropped."""

_CANDIDATES = 40
_SEED = 0


class Verified(Protocol):
    """How an exported file compares with the eager float model: figures, a dataclass."""

    __dataclass_fields__: ClassVar[dict[str, Any]]

    @property
    def error(self) -> float:
        """The one that says most: relative, of what the model is there for."""
        ...

    def check(self, scheme: str, tolerance: Tolerance) -> None:
        """Raise VerificationError where a figure is beyond ``tolerance``."""
        ...


@dataclass(frozen=True)
class Verification:
    """How the exported file compares with the eager float model.

    Attributes:
        positions: compared logits vectors.
        logits_error: root-mean-square difference of the logits, relative to the eager logits' own root mean square;
            both about their mean, since a constant added to all logits changes nothing.
        top1: share of positions where the most likely token is the same.
        prefill_error: the largest such error of any other signature against the file's own decoding.
    """

    positions: int
    logits_error: float
    top1: float
    prefill_error: float

    @property
    def error(self) -> float:
        """Of the logits."""
        return self.logits_error

    def __str__(self) -> str:
        return f"logits error {self.logits_error:.2e}, top-1 agreement {self.top1:.0%} of {self.positions}"

    def check(self, scheme: str, tolerance: Tolerance) -> None:
        """Raise VerificationError where a figure is beyond ``tolerance``."""
        most = f"at most {tolerance.logits}"
        judge(
            scheme,
            {
                "logits error": (self.logits_error, self.logits_error <= tolerance.logits, most),
                "top-1 agreement": (self.top1, self.top1 >= tolerance.top1, f"at least {tolerance.top1}"),
                "prefill error": (self.prefill_error, self.prefill_error <= tolerance.logits, most),
            },
        )

    def with_errors(self, others: Sequence[float]) -> Verification:
        """The same, with the errors of further signatures."""
        return replace(self, prefill_error=max([self.prefill_error, *others]))


def judge(scheme: str, figures: Mapping[str, tuple[float, bool, str]]) -> None:
    """Raise VerificationError unless all is well.

    Args:
        scheme: name, for the message.
        figures: name -> value, whether it will do, and what is allowed.
    """
    failed = [f"{name:<16} {value:.3g}, allowed {limit}" for name, (value, ok, limit) in figures.items() if not ok]
    if failed:
        raise VerificationError(
            f"the exported file disagrees with the model beyond the tolerance of {scheme}",
            code=ErrorCode.VERIFICATION_FAILED,
            details=failed,
            hint="--scheme fp32 tells a lowering error from a quantization error; --no-verify keeps the file",
        )


def keeps_packed_weights_on_disk(job: Job) -> bool:
    """Whether the runtime's packed weights go to a file while verifying, from where pages can be dropped."""
    return job.weight_bytes > _PACKED_IN_MEMORY


def open_session(job: Job, path: Path) -> Session:
    """The file at ``path``, loaded. May leave a file beside it."""
    on_disk = keeps_packed_weights_on_disk(job)
    return Session(path, weight_cache=path.with_name(PACKED_FILE) if on_disk else None)


def some_tokens(vocab_size: int, count: int) -> list[int]:
    """A text of random tokens, the same every time."""
    chosen: list[int] = np.random.default_rng(_SEED).integers(0, vocab_size, count).tolist()
    return chosen


def verify_decoder(job: Job, path: Path) -> Verification:
    """Compare the file at ``path`` with ``job``'s model, a decoder. May leave a file beside it.

    Returns the figures; :meth:`Verification.check` judges them.
    """
    session = open_session(job, path)
    adapter = {} if job.lora is None else some_adapter(job.lora)
    held = session.hold(signature_groups(session.signatures)[-1].decode, adapter)
    return compare(job, session, first_token(job), held, lambda tokens: eager_logits(job.model, tokens, adapter))


def first_token(job: Job) -> int:
    """What a decoder's text begins with: the start token, if it has one."""
    start = job.tokenizer.bos_token_id if job.tokenizer else None
    return start or 0


def compare(job: Job, session: Session, start: int, held: Held, eager: Callable[[list[int]], Logits]) -> Verification:
    """The file's logits for a text that it writes itself, against the eager model's for the same.

    Args:
        job: of the export.
        session: the file.
        start: first token of the text.
        held: inputs that the text depends on besides.
        eager: ``(tokens) -> [T, V]`` logits, called while the model's weights can be read.
    """
    length = min(LENGTH, job.options.cache_length)
    *shorter, whole = signature_groups(session.signatures)
    tokens, outputs = write_text(session, whole, start, length, held)
    decoded = np.stack([each["logits"][0, 0] for each in outputs])
    with streamed_weights(job.model, job.sources):
        expected = eager(tokens)
    return Verification(
        positions=length,
        logits_error=_error(decoded, expected),
        top1=float(np.mean(decoded.argmax(-1) == expected.argmax(-1))),
        prefill_error=max(
            _prefill_error(session, group, name, read, tokens, decoded, held)
            for group in (*shorter, whole)
            for read, name in (*group.prefill.items(), *group.verify.items())
        ),
    )


def first_logits_error(session: Session, group: SignatureGroup, token: int, expected: Held, got: Held) -> float:
    """How far the logits after one token are from those with other held inputs, which should make no difference."""
    after = (_decode(session, group, session.new_state(group.names, held), [token], 0) for held in (got, expected))
    return _error(*after)


def some_adapter(layout: LoraLayout) -> dict[str, Logits]:
    """Inputs of a file: random factors whose products are about a tenth of what the projections themselves give."""
    generator = np.random.default_rng(_SEED)
    share = {"a": 1.0, "b": 0.1}
    return {
        input_name(name, factor, block): generator.normal(scale=share[factor] / np.sqrt(shape[0]), size=shape).astype(
            np.float32
        )
        for name, factor, block, shape in layout.inputs()
    }


def write_text(
    session: Session, group: SignatureGroup, start: int, length: int, held: Held
) -> tuple[list[int], list[dict[str, Array]]]:
    """``length`` tokens that a file writes itself, sampled with a fixed seed, and what it gives after each."""
    generator = np.random.default_rng(_SEED)
    state = session.new_state(group.names, held)
    tokens, outputs = [start], []
    while True:
        outputs.append(_step(session, group, state, tokens, len(tokens) - 1))
        if len(tokens) == length:
            return tokens, outputs
        tokens.append(_sample(outputs[-1]["logits"][0, 0], generator))


def joined(outputs: Sequence[Mapping[str, Array]]) -> dict[str, Array]:
    """Outputs of one token each, ``[1, 1, ...]``, as those of a text."""
    return {name: np.concatenate([each[name] for each in outputs], axis=1) for name in outputs[0]}


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
    candidates = np.argpartition(logits, -_CANDIDATES)[-_CANDIDATES:] if logits.size > _CANDIDATES else None
    chosen = np.arange(logits.size) if candidates is None else np.sort(candidates)
    weights = np.exp(logits[chosen] - logits[chosen].max())
    return int(generator.choice(chosen, p=weights / weights.sum()))


def _prefill_error(
    session: Session, group: SignatureGroup, signature: str, length: int, tokens: list[int], decoded: Logits, held: Held
) -> float:
    """Read the first half of the text with one signature, the next token with the group's ``decode``."""
    read = min(len(tokens) // 2, length)
    padded = [*tokens[:read], *[0] * (length - read)]
    state = session.new_state(group.names, held)
    positions = np.arange(length, dtype=np.int32)
    outputs = session.run(signature, {"tokens": np.array([padded], np.int32), "input_pos": positions}, state)
    error = _error(_decode(session, group, state, tokens, read), decoded[read])
    if "logits" in outputs:
        error = max(error, *map(_error, outputs["logits"][0, :read], decoded[:read]))
    return error


def _error(got: Logits, expected: Logits) -> float:
    reference = _centred(expected)
    return float(np.linalg.norm(_centred(got) - reference) / np.linalg.norm(reference))


def _centred(logits: Logits) -> Logits:
    centred: Logits = logits - logits.mean(axis=-1, keepdims=True)
    return centred


def eager_logits(model: Any, tokens: list[int], adapter: dict[str, Logits]) -> Logits:
    """Of a decoder on CPU tensors, ``[T, V]``."""
    positions = torch.arange(len(tokens), dtype=torch.int32)
    with torch.no_grad(), torch.device("cpu"):
        cache = model.new_cache(len(tokens), device="cpu")
        extra = (model.adapter(adapter),) if adapter else ()
        outputs = model(torch.tensor([tokens], dtype=torch.int32), positions, cache, *extra)
    logits: Logits = outputs["logits"][0].numpy()
    return logits
