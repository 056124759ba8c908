"""Text embedder: a loaded encoder that turns texts into vectors."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edgegen.errors import ErrorCode, UsageError
from edgegen.litert.session import Session
from edgegen_runtime.bundle import ExportedModel
from edgegen_runtime.embedding.padded_encoder import PaddedEncoder
from edgegen_runtime.text.tokenizer import Tokenizer, no_tokenizer, open_tokenizer

Vectors = npt.NDArray[np.float32]


class Embedder:
    """An exported text encoder. :meth:`load` makes one. Use it from one thread at a time.

    Attributes:
        exported: the exported folder, as its manifest describes it.
        tokenizer: None if the export has none; texts are token ids then.
    """

    def __init__(self, session: Session, exported: ExportedModel, tokenizer: Tokenizer | None = None) -> None:
        self.exported = exported
        self.tokenizer = tokenizer
        self._encoder = PaddedEncoder(session, exported)

    @classmethod
    def load(cls, path: Path | str, *, threads: int | None = None, weight_cache: Path | str | None = None) -> Embedder:
        """Load an exported folder, or the ``.tflite`` file in one.

        Args:
            path: the folder or file.
            threads: CPU threads of LiteRT; default: all cores.
            weight_cache: a file that keeps packed weights from one run to the next; default: none.

        Raises:
            UsageError: the folder or a file in it is missing or damaged, or holds a model of another kind.
            UnsupportedError: it was written by a later version, or its tokenizer is of an unknown kind.
        """
        if threads is not None and threads < 1:
            raise UsageError(
                f"{threads} threads asked for; at least 1 is needed", code=ErrorCode.INVALID_GENERATION_OPTION
            )
        exported = ExportedModel.open(path)
        exported.expect("feature-extraction")
        tokenizer = open_tokenizer(exported.tokenizer.file, decodes=False) if exported.tokenizer else None
        return cls(Session(exported.model, threads=threads, weight_cache=weight_cache), exported, tokenizer)

    @property
    def dimensions(self) -> int:
        """Length of a vector, D."""
        assert self.exported.embedding is not None  # ExportedModel.open has made sure of it
        return self.exported.embedding.dimensions

    @property
    def max_length(self) -> int:
        """Length of the longest text in tokens, special tokens around it included."""
        return self._encoder.max_length

    def encode(self, text: str) -> list[int]:
        """Token ids of a text, with the special tokens that the tokenizer itself puts around it.

        Raises:
            UsageError: the model has no tokenizer.
        """
        if self.tokenizer is None:
            raise no_tokenizer()
        return self.tokenizer.encode_text(text)

    def embed(self, texts: Iterable[str | Sequence[int]], *, truncate: bool = False) -> Vectors:
        """Embeddings of texts, float32 ``[n, D]``; each text is run by the shortest signature that takes it.

        Args:
            texts: texts, or token ids.
            truncate: cut texts to :attr:`max_length` tokens, the last one kept. Default: an error.

        Raises:
            UsageError: a text is empty, or too long.
        """
        token_ids = [self._ids(text, truncate) for text in texts]
        vectors = [self._encoder.run(ids)["embedding"][0] for ids in token_ids]
        return np.stack(vectors) if vectors else np.empty((0, self.dimensions), np.float32)

    def token_vectors(self, text: str | Sequence[int], *, truncate: bool = False) -> Vectors:
        """Token embeddings of a text, float32 ``[T, D]``; see :meth:`embed`."""
        ids = self._ids(text, truncate)
        vectors: Vectors = self._encoder.run(ids)["token_vectors"][0, : len(ids)]
        return vectors

    def _ids(self, text: str | Sequence[int], truncate: bool) -> list[int]:
        ids = self.encode(text) if isinstance(text, str) else list(text)
        if truncate and len(ids) > self.max_length:
            ids = [*ids[: self.max_length - 1], ids[-1]]
        self._encoder.check(ids, "truncate it (--truncate), or split it")
        return ids


def similarity(left: Vectors, right: Vectors) -> Vectors:
    """Cosine similarity of all pairs: ``[n, D]`` and ``[m, D]`` to ``[n, m]``."""
    left, right = (v / np.linalg.norm(v, axis=1, keepdims=True).clip(min=1e-12) for v in (left, right))
    cosines: Vectors = left @ right.T
    return cosines
