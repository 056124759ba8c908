"""Sampler chain: logits processors (penalties and biases, then a grammar), and the sampler at its end."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from edgegen.errors import ErrorCode, UsageError
from edgegen_runtime.generation.sampling import Logits, Sampler, SamplingOptions


class LogitsProcessor(Protocol):
    """A step of the chain that changes logits by the tokens generated so far."""

    @property
    def complete(self) -> bool:
        """True if no token may follow."""
        ...

    def process(self, logits: Logits) -> Logits:
        """A changed copy of ``logits [V]``."""
        ...

    def accept(self, token_id: int) -> None:
        """Record the token that the answer goes on with."""
        ...


class Penalties:
    """Logits processor of repetition, presence and frequency penalties and logit biases; see
    :class:`SamplingOptions`.

    Raises:
        UsageError: ``logit_bias`` names a token outside the vocabulary.
    """

    complete = False

    def __init__(self, options: SamplingOptions, prompt_ids: Sequence[int], vocab_size: int) -> None:
        self._options = options
        self._in_text = np.zeros(vocab_size, bool)
        self._in_text[list(prompt_ids)] = True
        self._answer_counts = np.zeros(vocab_size, np.int32)
        outside = [token_id for token_id in options.logit_bias if token_id >= vocab_size]
        if outside:
            raise UsageError(
                f"logit-bias names token {outside[0]}, but the vocabulary has {vocab_size}",
                code=ErrorCode.LOGIT_BIAS_OUT_OF_RANGE,
                hint="ids come from the model's own tokenizer",
            )

    @staticmethod
    def needed(options: SamplingOptions) -> bool:
        """True if any of the options changes logits."""
        penalised = options.presence_penalty or options.frequency_penalty or options.repetition_penalty != 1
        return bool(penalised or options.logit_bias)

    def process(self, logits: Logits) -> Logits:
        """A changed copy of ``logits [V]``."""
        options, changed = self._options, logits.copy()
        if options.repetition_penalty != 1:
            repeated = changed[self._in_text]
            factor = np.float32(options.repetition_penalty)
            changed[self._in_text] = np.where(repeated > 0, repeated / factor, repeated * factor)
        if options.presence_penalty or options.frequency_penalty:
            said = np.flatnonzero(self._answer_counts)
            changed[said] -= np.float32(options.presence_penalty) + self._answer_counts[said] * np.float32(
                options.frequency_penalty
            )
        for token_id, bias in options.logit_bias.items():
            changed[token_id] += np.float32(bias)
        return changed

    def accept(self, token_id: int) -> None:
        """Count a token of the answer."""
        self._in_text[token_id] = True
        self._answer_counts[token_id] += 1


class SamplerChain:
    """Logits processors and a sampler; serves one answer, as processors remember its tokens.

    Args:
        sampler: draws the token.
        processors: applied in order; a grammar comes last, so that it has the last word.

    Attributes:
        seed: seed of the sampler, None when greedy.
        greedy: True if no chance is involved.
    """

    def __init__(self, sampler: Sampler, processors: Sequence[LogitsProcessor] = ()) -> None:
        self.seed = sampler.seed
        self.greedy = sampler.greedy
        self._sampler = sampler
        self._processors = tuple(processors)

    @property
    def complete(self) -> bool:
        """True if a processor, such as a grammar, lets nothing more follow."""
        return any(processor.complete for processor in self._processors)

    def process(self, logits: Logits) -> Logits:
        """``logits [V]`` as the processors leave them."""
        for processor in self._processors:
            logits = processor.process(logits)
        return logits

    def sample(self, processed: Logits) -> int:
        """The next token, drawn from processed logits and recorded as part of the answer."""
        token_id = self._sampler.sample(processed)
        for processor in self._processors:
            processor.accept(token_id)
        return token_id
