"""The float model that a file is verified against: a module with the checkpoint's own weights, and its inputs."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import numpy.typing as npt

from edgegen.adapters.layout import LoraLayout, input_name
from edgegen.export.offloaded import Observer, streamed_weights
from edgegen.modeling import require
from edgegen.weights.tensors import LazyTensor

if TYPE_CHECKING:
    from torch import nn

_SEED = 0

P = TypeVar("P")


@dataclass(frozen=True, kw_only=True)
class Reference:
    """The eager float model of an export.

    Attributes:
        module: on the ``meta`` device; fulfils the protocol of its task.
        weights: parameter name -> the checkpoint's numbers.
        start_token_id: token that a text begins with.
        cache_length: slots of the file's longest cache, in tokens.
        max_rollback: most tokens that the cache can be rolled back by; None for all of them.
        lora: the adapters that the file takes; None for none.
    """

    module: nn.Module
    weights: Mapping[str, LazyTensor]
    start_token_id: int = 0
    cache_length: int = 0
    max_rollback: int | None = None
    lora: LoraLayout | None = None

    @property
    def config(self) -> Any:
        """The module's, see :class:`edgegen.modeling.ModelConfig`."""
        return self.module.config

    def as_protocol(self, protocol: type[P]) -> P:
        """The module as a protocol of :mod:`edgegen.modeling`; raises PluginError where it lacks a member."""
        return require(self.module, protocol, "the model")

    def loaded(self, observe: Observer | None = None) -> AbstractContextManager[None]:
        """A context in which the module runs on CPU tensors, see :func:`~edgegen.export.offloaded.streamed_weights`."""
        return streamed_weights(self.module, self.weights, observe)

    def random_tokens(self, count: int) -> list[int]:
        """A text of random tokens, the same every time."""
        return random_tokens(self.config.vocab_size, count)

    def random_adapter(self) -> dict[str, npt.NDArray[np.float32]]:
        """Inputs of a file that takes adapters: random factors whose products are about a tenth of what the
        projections themselves give; empty where it takes none."""
        generator = np.random.default_rng(_SEED)
        scales = {"a": 1.0, "b": 0.1}
        return {
            input_name(name, factor, block): generator.normal(
                scale=scales[factor] / np.sqrt(shape[0]), size=shape
            ).astype(np.float32)
            for name, factor, block, shape in (self.lora.inputs() if self.lora else ())
        }


def random_tokens(vocab_size: int, count: int) -> list[int]:
    """``count`` random token ids, the same every time."""
    chosen: list[int] = np.random.default_rng(_SEED).integers(0, vocab_size, count).tolist()
    return chosen
