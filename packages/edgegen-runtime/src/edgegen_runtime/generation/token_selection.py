"""From a model's logits to the next token: penalties and biases, then a constraint, then the sampler."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from edgegen.errors import ErrorCode, UsageError
from edgegen_runtime.generation.sampling import Logits, Sampler, SamplingOptions

if TYPE_CHECKING:
    from edgegen_runtime.generation.structured_output import Constraint


class Penalties:
    """Changes logits by what the text already has; see :class:`SamplingOptions`.

    Raises:
        UsageError: ``logit_bias`` names a token outside the vocabulary.
    """

    def __init__(self, options: SamplingOptions, prompt_ids: Sequence[int], vocab_size: int) -> None:
        self._options = options
        self._met = np.zeros(vocab_size, bool)
        self._met[list(prompt_ids)] = True
        self._said = np.zeros(vocab_size, np.int32)
        outside = [token_id for token_id in options.logit_bias if token_id >= vocab_size]
        if outside:
            raise UsageError(
                f"logit-bias names token {outside[0]}, but the vocabulary has {vocab_size}",
                code=ErrorCode.LOGIT_BIAS_OUT_OF_RANGE,
                hint="ids come from the model's own tokenizer",
            )

    @staticmethod
    def wanted(options: SamplingOptions) -> bool:
        """Whether any of them would change anything."""
        penalised = options.presence_penalty or options.frequency_penalty or options.repetition_penalty != 1
        return bool(penalised or options.logit_bias)

    def apply(self, logits: Logits) -> Logits:
        """A changed copy of ``logits [V]``."""
        options, changed = self._options, logits.copy()
        if options.repetition_penalty != 1:
            met = changed[self._met]
            factor = np.float32(options.repetition_penalty)
            changed[self._met] = np.where(met > 0, met / factor, met * factor)
        if options.presence_penalty or options.frequency_penalty:
            said = np.flatnonzero(self._said)
            changed[said] -= np.float32(options.presence_penalty) + self._said[said] * np.float32(
                options.frequency_penalty
            )
        for token_id, bias in options.logit_bias.items():
            changed[token_id] += np.float32(bias)
        return changed

    def take(self, token_id: int) -> None:
        """The answer goes on with this token."""
        self._met[token_id] = True
        self._said[token_id] += 1


class Chooser:
    """Chooses the tokens of one answer; remembers what was said, as penalties and constraints go by that.

    Args:
        sampler: makes the choice.
        penalties: applied first.
        constraint: which tokens may come next; it has the last word.
    """

    def __init__(
        self, sampler: Sampler, penalties: Penalties | None = None, constraint: Constraint | None = None
    ) -> None:
        self.seed = sampler.seed
        self.greedy = sampler.greedy
        self._sampler = sampler
        self._penalties = penalties
        self._constraint = constraint

    @property
    def complete(self) -> bool:
        """The constraint lets nothing more be said."""
        return self._constraint is not None and self._constraint.complete

    def prepare(self, logits: Logits) -> Logits:
        """What :meth:`choose` chooses by: ``logits [V]`` as the penalties and the constraint leave them."""
        if self._penalties is not None:
            logits = self._penalties.apply(logits)
        return logits if self._constraint is None else self._constraint.mask(logits)

    def choose(self, prepared: Logits) -> int:
        """The next token, which is then taken as said."""
        token_id = self._sampler.sample(prepared)
        if self._penalties is not None:
            self._penalties.take(token_id)
        if self._constraint is not None:
            self._constraint.take(token_id)
        return token_id
