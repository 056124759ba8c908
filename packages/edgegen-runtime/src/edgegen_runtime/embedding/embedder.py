"""Texts to vectors: a loaded encoder."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edgegen.errors import ErrorCode, UsageError
from edgegen.litert.session import Session
from edgegen_runtime.bundle import Bundle
from edgegen_runtime.embedding.padding import TextReader
from edgegen_runtime.text.tokenizer import Tokenizer, no_tokenizer, open_tokenizer

Vectors = npt.NDArray[np.float32]


class Embedder:
    """An exported encoder. :meth:`load` makes one. Use it from one thread at a time.

    Attributes:
        bundle: what the manifest says.
        tokenizer: None if the export has none; texts are token ids then.
    """

    def __init__(self, session: Session, bundle: Bundle, tokenizer: Tokenizer | None = None) -> None:
        self.bundle = bundle
        self.tokenizer = tokenizer
        self._reader = TextReader(session, bundle)

    @classmethod
    def load(cls, path: Path | str, *, threads: int | None = None, weight_cache: Path | str | None = None) -> Embedder:
        """Load an exported folder, or the ``.tflite`` file in one.

        Args:
            path: the folder or file.
            threads: for LiteRT; default: all cores.
            weight_cache: a file that keeps packed weights from one run to the next; default: none.

        Raises:
            UsageError: the folder or a file in it is missing or damaged, or holds a model of another kind.
            UnsupportedError: it was written by a later version, or its tokenizer is of an unknown kind.
        """
        if threads is not None and threads < 1:
            raise UsageError(
                f"{threads} threads asked for; at least 1 is needed", code=ErrorCode.INVALID_GENERATION_OPTION
            )
        bundle = Bundle.open(path)
        bundle.expect("encoder")
        tokenizer = open_tokenizer(bundle.tokenizer.file, decodes=False) if bundle.tokenizer else None
        return cls(Session(bundle.model, threads=threads, weight_cache=weight_cache), bundle, tokenizer)

    @property
    def dimensions(self) -> int:
        """Numbers in a vector."""
        assert self.bundle.embedding is not None  # Bundle.open has made sure of it
        return self.bundle.embedding.dimensions

    @property
    def longest(self) -> int:
        """Tokens that a text may have, with those that the tokenizer puts around it."""
        return self._reader.longest

    def encode(self, text: str) -> list[int]:
        """Ids of a text, with what the tokenizer itself puts around it.

        Raises:
            UsageError: the model has no tokenizer.
        """
        if self.tokenizer is None:
            raise no_tokenizer()
        return self.tokenizer.encode_text(text)

    def embed(self, texts: Iterable[str | Sequence[int]], *, truncate: bool = False) -> Vectors:
        """One vector for each text, ``[n, D]``; each is read by the shortest signature that takes it.

        Args:
            texts: texts, or token ids.
            truncate: leave out what is beyond the longest text; the token that ends one stays. Default: an error.

        Raises:
            UsageError: a text is empty, or too long.
        """
        read = [self._ids(text, truncate) for text in texts]
        vectors = [self._reader.read(ids)["embedding"][0] for ids in read]
        return np.stack(vectors) if vectors else np.empty((0, self.dimensions), np.float32)

    def token_vectors(self, text: str | Sequence[int], *, truncate: bool = False) -> Vectors:
        """The vectors of a text's tokens, ``[T, D]``; see :meth:`embed`."""
        ids = self._ids(text, truncate)
        vectors: Vectors = self._reader.read(ids)["token_vectors"][0, : len(ids)]
        return vectors

    def _ids(self, text: str | Sequence[int], truncate: bool) -> list[int]:
        ids = self.encode(text) if isinstance(text, str) else list(text)
        if truncate and len(ids) > self.longest:
            ids = [*ids[: self.longest - 1], ids[-1]]
        self._reader.check(ids, "truncate it (--truncate), or split it")
        return ids


def similarity(left: Vectors, right: Vectors) -> Vectors:
    """Cosines of all pairs: ``[n, D]`` and ``[m, D]`` to ``[n, m]``."""
    left, right = (v / np.linalg.norm(v, axis=1, keepdims=True).clip(min=1e-12) for v in (left, right))
    cosines: Vectors = left @ right.T
    return cosines
