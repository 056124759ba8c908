"""Several tokens for one reading of the weights: cheap guesses at what comes next, checked in one call.

A drafter guesses, a ``verify_<N>`` signature gives the logits after each guess, and the answer's own
:class:`Chooser` chooses from them, one after the other, as it would without guesses. Guesses count only as long as
they are what it chose. So a guess, however bad, changes the speed and never the text: greedily the likeliest token is
taken at each place, and a sampled answer is drawn from the model's own distribution with the same random numbers. (For
a guess that is certain, drawing first and comparing then *is* rejection sampling.)

Rows of rejected guesses stay in the cache until the tokens that belong there overwrite them; the causal mask hides
them until then.

What could differ is rounding: ``verify_<N>`` may run on other kernels than ``decode``. They are compared once, bit
for bit (:func:`verify_noise`). Where they agree, as on XNNPACK's kernels so far, nothing else is needed. Where they do
not, a greedy choice is trusted only where the likeliest token leads by more than the noise can make up; before a
closer call, everything that ``verify`` wrote is read again with ``decode``, so that the choice is made from the very
numbers that plain decoding has.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

import numpy as np

from edgegen.errors import ErrorCode, UsageError
from edgegen_runtime.cache.kv_cache import Context, common_prefix

if TYPE_CHECKING:
    from edgegen_runtime.generation.language_model import LanguageModel
    from edgegen_runtime.generation.sampling import Logits
    from edgegen_runtime.generation.token_selection import Chooser

SAFETY = 16
"""A lead counts as clear beyond this multiple of the noise that was measured."""


_FEW, _LONGEST_PAUSE = 3, 16
"""How many guesses to begin with, and after how many plain steps to try again where guessing goes badly."""


class Drafter(Protocol):
    """Guesses at what comes next."""

    def check(self, model: LanguageModel) -> None:
        """Raise UsageError if it cannot guess for this model."""

    def propose(self, text: Sequence[int], count: int) -> list[int]:
        """Up to ``count`` tokens that may follow ``text``, prompt and answer so far; none where it has no idea."""
        ...


class PromptLookup:
    """Guesses that the text repeats itself: what followed the last few tokens the last time they occurred.

    Costs next to nothing, and pays where an answer quotes its prompt: summaries, corrections, code edits.

    Args:
        longest: how many tokens to look up at first.
        shortest: how many at least have to be found again.
    """

    def __init__(self, *, longest: int = 4, shortest: int = 2) -> None:
        if not 1 <= shortest <= longest:
            raise ValueError(f"looks up {shortest} to {longest} tokens; 1 or more, the shortest first")
        self._sizes = range(longest, shortest - 1, -1)

    def check(self, model: LanguageModel) -> None:
        """It can guess for any model."""

    def propose(self, text: Sequence[int], count: int) -> list[int]:
        """What followed the latest earlier occurrence of the longest ending that has one."""
        tokens = np.asarray(text, np.int32)
        for size in self._sizes:
            starts = len(tokens) - size  # of places before the ending itself
            if starts < 1:
                continue
            same = np.ones(starts, bool)
            for offset in range(size):
                same &= tokens[offset : offset + starts] == tokens[starts + offset]
            found = np.flatnonzero(same)
            if len(found):
                # Of the latest occurrences, the first that has enough behind it: a short cycle has its end too near.
                whole = found[found + size + count <= len(tokens)]
                begin = int(whole[-1] if len(whole) else found[0]) + size
                return [int(token_id) for token_id in tokens[begin : begin + count]]
        return []


class DraftModel:
    """Guesses what a smaller model with the same tokenizer would say.

    Args:
        model: the smaller one; its cache is this object's own, so use one object for one answer at a time.
    """

    def __init__(self, model: LanguageModel) -> None:
        self.model = model
        self._context = model.new_context()

    def check(self, model: LanguageModel) -> None:
        """The two must mean the same by a token id."""
        ours, theirs = self.model.tokenizer, model.tokenizer
        if ours is not None and theirs is not None:
            same = ours.vocab_size == theirs.vocab_size and all(
                ours.id_to_token(token_id) == theirs.id_to_token(token_id) for token_id in range(ours.vocab_size)
            )
        else:
            same = self.model.vocab_size == model.vocab_size
        if not same:
            raise UsageError(
                f"{self.model.bundle.name} has another tokenizer than {model.bundle.name}, so it cannot draft for it",
                code=ErrorCode.DRAFT_MODEL_MISMATCH,
                hint="choose a smaller model of the same family, or --speculate prompt-lookup",
            )

    def propose(self, text: Sequence[int], count: int) -> list[int]:
        """Its ``count`` greedy next tokens, or fewer where its own cache ends."""
        context, limit = self._context, self.model.vocab_size
        room = context.cache_length - len(text) + 1
        if room < 1 or any(token_id >= limit for token_id in text):
            return []
        known = context.rewind(common_prefix(context.tokens, text[:-1]))
        context.prefill(text[known:-1])
        guesses: list[int] = []
        token_id = text[-1]
        for _ in range(min(count, room)):
            token_id = int(context.step(token_id).argmax())
            guesses.append(token_id)
        return guesses


class Speculation:
    """Reads tokens with guesses at their successors; one object serves one answer.

    Args:
        drafter: makes the guesses.
        noise: what :func:`verify_noise` found.

    Attributes:
        drafted: guesses that were checked.
        accepted: those that were right.
    """

    def __init__(self, drafter: Drafter, noise: float) -> None:
        self._drafter = drafter
        self._clear = SAFETY * noise
        self._inexact: int | None = None  # the first row that goes back to ``verify``, if that is noisy
        self._width = _FEW
        self._pause = 0
        self._wait = 0
        self.drafted = 0
        self.accepted = 0

    def read(
        self, context: Context, text: Sequence[int], chooser: Chooser, stop_ids: frozenset[int], most: int
    ) -> list[int]:
        """Read the last token of ``text``, which the cache lacks, and choose one to ``most`` tokens after it.

        Ends with a stop token, or where the chooser is complete.
        """
        length = min(context.verify_length(most), self._width + 1)
        guesses: list[int] = []
        if self._wait:
            self._wait -= 1
        elif length > 1:
            guesses = self._drafter.propose(text, length - 1)
        start = len(context.tokens)
        if not guesses:
            return [self._choose(context, text, context.step(text[-1]), chooser)]
        rows = context.verify([text[-1], *guesses])
        if self._clear and self._inexact is None:
            self._inexact = start
        chosen: list[int] = []
        accepted = 0
        for row, guess in zip(rows, [*guesses, None], strict=True):
            trusted = self._inexact
            chosen.append(self._choose(context, [*text, *chosen], row, chooser))
            right = chosen[-1] == guess
            accepted += right
            # If a close call had the rows read again, those after them are gone from the cache.
            if not right or chosen[-1] in stop_ids or chooser.complete or self._inexact != trusted:
                break
        context.rewind(start + len(chosen))  # as after plain decoding: the last token chosen is not read yet
        self.drafted += len(guesses)
        self.accepted += accepted
        self._adapt(len(guesses), accepted)
        return chosen

    def _adapt(self, tried: int, accepted: int) -> None:
        """Guess more where all was right; where nothing was, pause: a check of wrong guesses is slower than a step."""
        if accepted:
            self._pause = 0
            self._width = 2 * tried + 1 if accepted == tried else max(_FEW, accepted)
        else:
            self._width, self._pause = _FEW, min(2 * self._pause + 1, _LONGEST_PAUSE)
            self._wait = self._pause

    def forget(self, context: Context) -> None:
        """The rows of ``context`` are about to be filled anew: drop those that are not as plain decoding has them."""
        if self._inexact is not None:
            context.rewind(self._inexact)
            self._inexact = None

    def _choose(self, context: Context, text: Sequence[int], logits: Logits, chooser: Chooser) -> int:
        """The token after ``text``, as plain decoding would choose it."""
        prepared = chooser.prepare(logits)
        if self._inexact is not None and chooser.greedy and _lead(prepared) <= self._clear:
            for token_id in text[context.rewind(self._inexact) :]:
                logits = context.step(token_id)
            self._inexact = None
            prepared = chooser.prepare(logits)
        return chooser.choose(prepared)


def _lead(logits: Logits) -> float:
    """By how much the greatest logit exceeds the second."""
    second, first = np.partition(logits, len(logits) - 2)[-2:]
    return float(first - second)


def verify_noise(context: Context, vocab_size: int) -> float:
    """The largest difference between logits of ``verify`` and of ``decode`` for the same tokens; mostly 0.

    Overwrites ``context``. Its shortest cache stands for all: which kernels run depends on the number of tokens.
    """
    context.rewind(0)
    longest = context.verify_length(context.cache_length)
    tokens = [(index + 1) * 7919 % vocab_size for index in range(longest)]  # 7919 is a prime, so that they differ
    decoded = [context.step(token_id) for token_id in tokens]
    noise = 0.0
    length = longest
    while length > 1:  # halving meets each signature's length, or one that it serves
        context.rewind(0)
        differences = context.verify(tokens[:length]) - np.stack(decoded[:length])
        noise = max(noise, float(np.abs(differences).max()))
        length //= 2
    context.rewind(0)
    return noise
