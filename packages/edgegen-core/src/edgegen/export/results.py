"""Results of an export's stages: frozen records that import nothing of the exporter."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Protocol

import numpy as np

from edgegen.errors import ErrorCode, ResourceError, VerificationError
from edgegen.weights.storage import Tolerance

_OTHER_TEXT = 2.0
"""Times the scheme's tolerance that a file may be off: that is for a text which the file has written itself."""

_ROUNDING = 0.01
"""Relative error between two float models: far above what rounding makes, far below what a misread setting makes."""


class VerificationResult(Protocol):
    """Figures of an exported file against the eager float model: a frozen dataclass of numbers."""

    __dataclass_fields__: ClassVar[dict[str, Any]]

    @property
    def error(self) -> float:
        """The figure that says most: relative error of the model's main output."""
        ...

    def check(self, scheme: str, tolerance: Tolerance) -> None:
        """Raise VerificationError where a figure is beyond ``tolerance``."""
        ...


@dataclass(frozen=True)
class LogitsVerification:
    """Figures of a model that makes text.

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
        """Error of the logits."""
        return self.logits_error

    def __str__(self) -> str:
        return f"logits error {self.logits_error:.2e}, top-1 agreement {self.top1:.0%} of {self.positions}"

    def check(self, scheme: str, tolerance: Tolerance) -> None:
        """Raise VerificationError where a figure is beyond ``tolerance``."""
        limit = f"at most {tolerance.logits}"
        alone = self.logits_error <= tolerance.logits < self.prefill_error
        check_figures(
            scheme,
            {
                "logits error": (self.logits_error, self.logits_error <= tolerance.logits, limit),
                "top-1 agreement": (self.top1, self.top1 >= tolerance.top1, f"at least {tolerance.top1}"),
                "prefill error": (self.prefill_error, self.prefill_error <= tolerance.logits, limit),
            },
            # Prefill signatures are padded beyond a text's end.
            hint="a cache that cannot forget tokens states it: max_rollback() of edgegen.modeling.LimitsRollback"
            if alone
            else None,
        )

    def with_errors(self, others: Sequence[float]) -> LogitsVerification:
        """These figures, with the errors of further signatures."""
        return replace(self, prefill_error=worst([self.prefill_error, *others]))


@dataclass(frozen=True)
class EmbeddingVerification:
    """Figures of a text encoder.

    Attributes:
        texts: compared texts.
        embedding_error: largest distance of an embedding from the eager one, relative to that one's length.
        cosine: smallest cosine between the two.
        vectors_error: largest distance of the vectors of a text's tokens, likewise.
    """

    texts: int
    embedding_error: float
    cosine: float
    vectors_error: float

    @property
    def error(self) -> float:
        """Error of the embeddings."""
        return self.embedding_error

    def __str__(self) -> str:
        return f"embedding error {self.embedding_error:.2e}, cosine {self.cosine:.6f} or more for {self.texts} texts"

    def check(self, scheme: str, tolerance: Tolerance) -> None:
        """Raise VerificationError where a figure is beyond ``tolerance``, whose bound for logits is one for vectors."""
        errors = {"embedding error": self.embedding_error, "vectors error": self.vectors_error}
        limit = f"at most {tolerance.logits}"
        figures = {name: (error, error <= tolerance.logits, limit) for name, error in errors.items()}
        check_figures(scheme, figures | {"cosine": (self.cosine, self.cosine > 0, "above 0")})


@dataclass(frozen=True)
class OracleVerification:
    """Figures of an export against an oracle.

    Attributes:
        oracle: the implementation and its version.
        tokens: length of the text.
        model_error: root-mean-square difference of the float model's outputs, relative to the oracle's.
        file_error: the same of the file's.
        top1: share of positions where the file's most likely token is the oracle's; 1 for encoders.
        tokenizer: how the exported tokenizer differs; empty for not at all.
    """

    oracle: str
    tokens: int
    model_error: float
    file_error: float
    top1: float
    tokenizer: str = ""

    def __str__(self) -> str:
        return f"{self.oracle}: float model error {self.model_error:.1e}, file error {self.file_error:.2e}"

    def check(self, scheme: str, tolerance: Tolerance) -> None:
        """Raise VerificationError where a figure is beyond what it may be; NaN is."""
        failed = []
        if not self.model_error <= _ROUNDING:
            failed.append(f"float model      {self.model_error:.3g}, allowed at most {_ROUNDING}")
        if not self.file_error <= _OTHER_TEXT * tolerance.logits:
            failed.append(
                f"file             {self.file_error:.3g}, allowed at most {_OTHER_TEXT * tolerance.logits:.3g}"
            )
        if self.tokenizer:
            failed.append(f"tokenizer        {self.tokenizer}")
        if failed:
            raise VerificationError(
                f"the export ({scheme}) disagrees with {self.oracle} on the same checkpoint",
                code=ErrorCode.VERIFICATION_FAILED,
                details=failed,
                hint="report it: the checkpoint was read wrongly, or its files are; --verify-against none keeps it",
            )


def worst(errors: Iterable[float]) -> float:
    """The largest of errors; NaN where one is."""
    return float(np.max(list(errors)))


def check_figures(scheme: str, figures: Mapping[str, tuple[float, bool, str]], hint: str | None = None) -> None:
    """Check figures against what a scheme allows.

    Args:
        scheme: name, for the message.
        figures: name -> value, True if it is allowed, and the limit in words.
        hint: a likely reason; None for none that is known.

    Raises:
        VerificationError: a figure is not allowed; all of them are listed.
    """
    failed = [f"{name:<16} {value:.3g}, allowed {limit}" for name, (value, ok, limit) in figures.items() if not ok]
    if failed:
        raise VerificationError(
            f"the exported file disagrees with the model beyond the tolerance of {scheme}",
            code=ErrorCode.VERIFICATION_FAILED,
            details=failed,
            hint=hint or "--scheme fp32 tells a lowering error from a quantization error; --no-verify keeps the file",
        )


@dataclass(frozen=True)
class ResourceEstimate:
    """An estimate of what an export takes.

    Attributes:
        files: name -> bytes, of what will be in the output folder.
        disk: bytes needed beside it while it works, these files included.
        disk_free: bytes; None where the place has no size.
        memory: bytes needed beyond what can be dropped and read again from disk, this process's own included.
        memory_free: bytes that this process may have, its own included.
        seconds: roughly, for writing and verifying.
    """

    files: Mapping[str, int]
    disk: int
    disk_free: int | None
    memory: int
    memory_free: int
    seconds: float

    def check(self, output: Path) -> None:
        """Raise ResourceError for what the machine does not have."""
        folder = existing(output)
        if self.disk_free is not None and self.disk_free < self.disk:
            raise ResourceError(
                f"the export needs {_megabytes(self.disk)} of disk and {folder} has {_megabytes(self.disk_free)} free",
                code=ErrorCode.DISK_TOO_SMALL,
                hint="make room, or name a folder on another disk with -o",
            )
        if self.memory_free < self.memory:
            raise ResourceError(
                f"the export needs {_megabytes(self.memory)} of memory and there are "
                f"{_megabytes(self.memory_free)} free",
                code=ErrorCode.OUT_OF_MEMORY,
                hint="close other programs; --no-verify needs less",
            )


def existing(folder: Path) -> Path:
    """The folder, or the nearest above it that exists."""
    folder = folder.absolute()
    return next((path for path in (folder, *folder.parents) if path.is_dir()), folder)


def _megabytes(count: int) -> str:
    return f"{count / 1e6:,.0f} MB"
