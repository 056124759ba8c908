"""KV cache of one text: its tokens, their rows in the cache, and the calls that add to it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from edgegen.adapters.layout import is_lora_input
from edgegen.errors import ErrorCode, UsageError
from edgegen.genai.signature_names import SignatureGroup, is_encoder_state, signature_groups
from edgegen_runtime.cache import prefill_plan
from edgegen_runtime.generation.sampling import Logits

if TYPE_CHECKING:
    from edgegen.litert.session import Session, SignatureInfo, State

StaticInputs = Mapping[str, Any]
"""Inputs of a signature that stay the same from call to call, made by :meth:`Session.hold`: LoRA factors, encoder
states."""

_OWN_INPUTS = {"tokens", "input_pos"}


@dataclass(frozen=True)
class LanguageSignatures:
    """The decoder's signatures that the runtime uses; a file may hold others."""

    groups: tuple[tuple[int, SignatureGroup], ...]
    """Cache buckets: number of slots and the signatures that work on them, ascending; the last is the whole cache."""
    vocab_size: int
    """Number of logits that ``decode`` returns."""
    max_rollback: int | None = None
    """Most recent tokens that a rollback may drop; None for all of them (ring buffers keep fewer rows)."""

    @property
    def whole_cache(self) -> SignatureGroup:
        """The signatures that work on the whole cache."""
        return self.groups[-1][1]

    @classmethod
    def of(cls, session: Session, cache_length: int, max_rollback: int | None = None) -> LanguageSignatures:
        """The signatures of a file, checked against the cache length that the manifest states.

        With a rollback limit, caches of some blocks may be shorter.

        Raises:
            UsageError: no ``decode`` signature with ``logits``, or a cache of another length.
        """
        usable = [name for name, info in session.signatures.items() if _takes_tokens(info)]
        groups = [(group.cache or cache_length, group) for group in signature_groups(usable)]
        decode = session.signatures[groups[-1][1].decode] if groups else None
        if decode is None or groups[-1][1].cache is not None or "logits" not in decode.outputs:
            raise UsageError(
                f"not a language model: no signature decode from tokens and input_pos to logits "
                f"(found {', '.join(session.signatures) or 'none'})",
                code=ErrorCode.SIGNATURES_MISSING,
            )
        for slots, group in groups:
            info = session.signatures[group.decode]
            for name in info.state:
                fits = slots in info.inputs[name].shape or max_rollback is not None
                if name.startswith("kv_cache_") and not fits:
                    raise UsageError(
                        f"{name} of {group.decode} is {info.inputs[name].shape}, but its cache has {slots} slots",
                        code=ErrorCode.CACHE_MISMATCH,
                        hint="manifest.json and model.tflite are of different exports; export again",
                    )
        return cls(tuple(groups), int(decode.outputs["logits"].shape[-1]), max_rollback)


def _takes_tokens(info: SignatureInfo) -> bool:
    """True if the signature takes tokens and positions, and besides them only state and static inputs."""
    static = {name for name in info.inputs if is_lora_input(name) or is_encoder_state(name)}
    return info.inputs.keys() - static - set(info.state) == _OWN_INPUTS


class KVCache:
    """A KV cache together with the tokens that its rows stand for.

    Rows beyond :attr:`tokens` may hold anything: the causal mask hides them until they are overwritten. One
    cache serves one text at a time; make one for each conversation. All caches of a session must be used from one
    thread at a time.

    Args:
        session: the loaded file.
        signatures: the decoder's signatures.
        cache_length: slots of the longest cache bucket, in tokens.
        static_inputs: inputs that are the same for all tokens, which the rows of the cache then depend on: LoRA
            factors, see :mod:`edgegen.adapters.layout`, or encoder states.
    """

    def __init__(
        self,
        session: Session,
        signatures: LanguageSignatures,
        cache_length: int,
        static_inputs: StaticInputs = MappingProxyType({}),
    ) -> None:
        self._session = session
        self._static_inputs = static_inputs
        self._signatures = signatures
        self._groups = signatures.groups
        self._states: dict[int, State] = {}
        self._level = 0
        self._tokens: list[int] = []
        self._written = 0
        self.cache_length = cache_length
        self._token = np.zeros((1, 1), np.int32)
        self._position = np.zeros(1, np.int32)

    @property
    def _group(self) -> SignatureGroup:
        return self._groups[self._level][1]

    @property
    def _slots(self) -> int:
        return self._groups[self._level][0]

    @property
    def _state(self) -> State:
        if self._level not in self._states:
            self._states[self._level] = self._session.new_state(self._group.names, self._static_inputs)
        return self._states[self._level]

    def _make_room(self, length: int) -> None:
        """Move to the shortest cache bucket that takes ``length`` tokens: attention costs by the slot, used or not."""
        before = self._level
        while length > self._slots and self._group is not self._signatures.whole_cache:
            self._level += 1
        if self._tokens and self._level > before:
            self._state.copy_from(self._states[before])

    @property
    def tokens(self) -> Sequence[int]:
        """Token ids of the rows of the cache; the next token goes to row ``len(tokens)``."""
        return self._tokens

    def rollback(self, length: int) -> int:
        """Drop all tokens but the first ``length``. Nothing is erased: later tokens overwrite their rows.

        Returns:
            Number of tokens left: 0 where the rollback exceeds :attr:`LanguageSignatures.max_rollback`, as the cache
            has lost rows that the next token would attend to.
        """
        limit = self._signatures.max_rollback
        lost = limit is not None and self._written - length > limit
        del self._tokens[0 if lost else length :]
        if not self._tokens:
            if limit is not None and self._written:
                for state in self._states.values():
                    state.clear()  # no mask hides what a recurrent state holds
            self._level = self._written = 0
        return len(self._tokens)

    def _writes(self, start: int, length: int) -> None:
        """Note that rows from ``start`` on are about to be written."""
        limit = self._signatures.max_rollback
        if limit is not None and start < self._written - limit:
            raise ValueError(f"the cache lost what precedes row {start}: roll it back first")
        self._written = max(self._written, start + length)

    def prefill(self, token_ids: Sequence[int], *, cancelled: Callable[[], bool] = lambda: False) -> None:
        """Prefill: append ``token_ids`` without computing their logits.

        Args:
            token_ids: tokens after :attr:`tokens`.
            cancelled: asked between calls of the model; once it returns true, the rest is left out.

        Raises:
            ValueError: they do not fit the cache.
        """
        start = len(self._tokens)
        text = [*self._tokens, *token_ids]
        self._make_room(len(text) + 1)  # a prefill is followed by a step
        limit = self._signatures.max_rollback
        for chunk in prefill_plan.plan(
            self._group.prefill, start, len(text), self._slots, max_rollback=limit, written=self._written
        ):
            if cancelled():
                return
            # If the call is interrupted, the rows it was to fill are in doubt, and only those.
            del self._tokens[chunk.start :]
            tokens = np.zeros((1, chunk.length), np.int32)
            known = text[chunk.start : chunk.end]
            tokens[0, : len(known)] = known
            positions = np.arange(chunk.start, chunk.end, dtype=np.int32)
            signature = self._group.decode if chunk.length == 1 else self._group.prefill[chunk.length]
            self._writes(chunk.start, chunk.length)
            self._session.run(signature, {"tokens": tokens, "input_pos": positions}, self._state)
            self._tokens.extend(known)

    def step(self, token_id: int) -> Logits:
        """Decode step: append one token.

        Returns:
            Logits of the token after it, float32 [V].

        Raises:
            ValueError: the cache is full.
        """
        position = len(self._tokens)
        if position >= self.cache_length:
            raise ValueError(f"the cache of {self.cache_length} tokens is full")
        self._token[0, 0] = token_id
        self._position[0] = position
        self._make_room(position + 1)
        inputs = {"tokens": self._token, "input_pos": self._position}
        self._writes(position, 1)
        logits: Logits = self._session.run(self._group.decode, inputs, self._state)["logits"]
        self._tokens.append(token_id)
        return logits.reshape(-1)

    def verify_length(self, count: int) -> int:
        """Number of tokens, up to ``count``, that one :meth:`verify` can take now; 0 if there is no such signature.

        It works on the cache that :meth:`step` would use now, and on no longer one, so that both compute the same.
        """
        self._make_room(len(self._tokens) + 1)
        return max((min(count, length) for length in self._verify_lengths(count)), default=0)

    def _verify_lengths(self, count: int) -> list[int]:
        """Lengths of ``verify`` signatures, ascending, that fit the cache and, for ``count`` tokens, need no more
        surplus ones than can be forgotten."""
        fitting = [length for length in self._group.verify if len(self._tokens) + length <= self._slots]
        limit = self._signatures.max_rollback
        return [length for length in fitting if limit is None or length - count <= limit]

    def verify(self, token_ids: Sequence[int]) -> Logits:
        """Append ``token_ids`` in one call, no more of them than :meth:`verify_length` allows.

        Returns:
            Logits after each of them, float32 [len(token_ids), V].
        """
        start, count = len(self._tokens), len(token_ids)
        length = min(length for length in self._verify_lengths(count) if length >= count)
        # Surplus tokens are nonsense in rows that nothing sees before it has been overwritten.
        tokens = np.zeros((1, length), np.int32)
        tokens[0, :count] = token_ids
        self._writes(start, length)
        inputs = {"tokens": tokens, "input_pos": np.arange(start, start + length, dtype=np.int32)}
        logits: Logits = self._session.run(self._group.verify[length], inputs, self._state)["logits"]
        self._tokens.extend(token_ids)
        return logits[0, :count]

    def fork(self) -> KVCache:
        """An independent copy."""
        copy = KVCache(self._session, self._signatures, self.cache_length, self._static_inputs)
        copy._level, copy._tokens, copy._written = self._level, list(self._tokens), self._written
        copy._state.copy_from(self._state)
        return copy

    def rows(self) -> dict[str, npt.NDArray[Any]]:
        """The filled part of the cache, by the names of its tensors."""
        return {
            name: self._state.read(name)[_filled(info.shape, self._slots, len(self._tokens))]
            for name, info in self._state.infos.items()
        }

    def restore(self, token_ids: Sequence[int], rows: Mapping[str, npt.NDArray[Any]]) -> None:
        """Fill the cache with the rows that :meth:`rows` returned when the cache held ``token_ids``.

        Raises:
            ValueError: the rows are not of this cache's layout.
        """
        self.rollback(0)
        self._make_room(len(token_ids))
        filled = {name: _filled(info.shape, self._slots, len(token_ids)) for name, info in self._state.infos.items()}
        contents = {name: np.zeros(info.shape, info.dtype) for name, info in self._state.infos.items()}
        if rows.keys() != contents.keys() or any(
            rows[name].shape != array[filled[name]].shape or rows[name].dtype != array.dtype
            for name, array in contents.items()
        ):
            raise ValueError("the rows are of another cache")
        for name, array in contents.items():
            array[filled[name]] = rows[name]
            self._state.write(name, array)
        self._tokens = list(token_ids)
        self._written = len(token_ids)


def _filled(shape: Sequence[int], slots: int, count: int) -> tuple[slice, ...]:
    """Slices of a state tensor that ``count`` tokens fill; the axis of slots is the only one of that length, if any."""
    if list(shape).count(slots) != 1:
        return tuple(map(slice, shape))
    return tuple(slice(count if size == slots else size) for size in shape)


def common_prefix(left: Sequence[int], right: Sequence[int]) -> int:
    """Length of the common prefix."""
    for index, (a, b) in enumerate(zip(left, right, strict=False)):
        if a != b:
            return index
    return min(len(left), len(right))
