from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
import pytest

from edgegen.errors import UsageError
from edgegen_runtime.generation.language_model import LanguageModel

Load = Callable[..., LanguageModel]


@pytest.mark.parametrize("verify", [(), (4,), (2, 16)])
@pytest.mark.parametrize("count", [2, 3, 17, 64, 65])
def test_scores_are_the_softmax_of_what_decode_gives(load_toy: Load, verify: tuple[int, ...], count: int) -> None:
    model = load_toy(verify=verify, cache_buckets=(16,))
    tokens = [index * 13 % 400 for index in range(count)]
    cache = load_toy().new_cache()
    expected = []
    for token, following in itertools.pairwise(tokens):
        logits = cache.step(token).astype(np.float64)
        expected.append(logits[following] - np.log(np.exp(logits).sum()))
    scores = model.score(tokens)
    assert scores.shape == (count - 1,)
    assert scores.dtype == np.float32
    np.testing.assert_allclose(scores, expected, rtol=1e-5)
    called = [name for name, _ in model._session.calls]  # type: ignore[attr-defined]
    if verify and count > 20:
        assert len(called) < count // 2
    assert (scores == model.score(tokens)).all()


@pytest.mark.parametrize("count", [0, 1, 66])
def test_texts_that_cannot_be_scored_are_refused(load_toy: Load, count: int) -> None:
    with pytest.raises(UsageError, match=f"{count} tokens"):
        load_toy().score([3] * count)


def test_ids_outside_the_vocabulary_are_refused(load_toy: Load) -> None:
    with pytest.raises(UsageError, match="vocabulary"):
        load_toy().score([3, 400])
