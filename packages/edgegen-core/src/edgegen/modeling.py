"""Protocols of exportable modules: what a model family's builder must return, and what it may offer besides.

The required protocols follow the family's task: :class:`CausalLM`, :class:`TextEncoder` or :class:`Seq2SeqLM`. The
optional ones (``Supports...``) each unlock a feature of the exporter. They are structural: a module fulfils one by
having its methods, without inheriting from it. :func:`require` and :func:`supports` check that, and name what lacks.

Shapes: B, the batch, is 1; T tokens are run at once; S cache slots; V tokens in the vocabulary; D hidden channels; R
the rank of an adapter. Every module is built on the ``meta`` device and later run on CPU tensors for verification.
Needs torch.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any, Protocol, TypeVar, runtime_checkable

import numpy as np
import numpy.typing as npt
import torch

from edgegen.errors import ErrorCode, PluginError
from edgegen.quantization.channel_scaling import ScalingGroup
from edgegen.tracing import Signature

Tensors = Mapping[str, Any]
"""Output name -> tensor, or a pytree of tensors such as a cache."""


class ModelConfig(Protocol):
    """The hyper-parameters that the exporter reads; a frozen dataclass of the family's own has them among others."""

    @property
    def vocab_size(self) -> int:
        """V: rows of the embedding table."""
        ...

    @property
    def max_position_embeddings(self) -> int:
        """Longest sequence that the model was trained for, in tokens."""
        ...


class Seq2SeqConfig(ModelConfig, Protocol):
    """Hyper-parameters of an encoder-decoder."""

    @property
    def decoder_start_token_id(self) -> int:
        """Token that every answer begins with, unseen."""
        ...


class EmbeddingConfig(ModelConfig, Protocol):
    """Hyper-parameters of a text encoder."""

    @property
    def hidden_size(self) -> int:
        """D: numbers in an embedding."""
        ...

    @property
    def pooling(self) -> str | None:
        """How token vectors become one: ``mean`` or ``cls``; None where the checkpoint does not state it (mean)."""
        ...

    @property
    def normalize(self) -> bool | None:
        """True if the embedding has length 1; None where the checkpoint does not state it (no)."""
        ...


@runtime_checkable
class CausalLM(Protocol):
    """A decoder (task ``text-generation``): continues a text over an external key/value cache."""

    config: Any
    """A :class:`ModelConfig`."""

    def __call__(
        self, tokens: torch.Tensor, input_pos: torch.Tensor, kv_cache: Any, *args: Any, **kwargs: Any
    ) -> Tensors:
        """Run T tokens.

        Args:
            tokens: ``[1, T]`` int32.
            input_pos: ``[T]`` int32, consecutive: positions of the tokens, and the cache slots that they go to.
            kv_cache: a cache as :meth:`new_cache` makes it: keys and values of all earlier positions.
            args: an adapter, where the module fulfils :class:`SupportsLora`.
            kwargs: whatever its own signatures pass.

        Returns:
            ``kv_cache``, updated, and ``logits [1, T, V]`` float32.
        """
        ...

    def new_cache(self, length: int, device: str | torch.device | None = None) -> Any:
        """An empty cache of ``length`` slots (a pytree of tensors), on ``device`` (default: the module's own)."""
        ...

    def signatures(
        self, prefill_lengths: Sequence[int], cache_length: int, cache_buckets: Sequence[int] = ()
    ) -> list[Signature]:
        """Entry points of the file: ``prefill_<N>`` for each length and ``decode``, as
        :mod:`edgegen.genai.signature_names` names them.

        Args:
            prefill_lengths: in tokens.
            cache_length: slots of the cache, in tokens.
            cache_buckets: shorter caches that have the same signatures again, in tokens.
        """
        ...


@runtime_checkable
class TextEncoder(Protocol):
    """An encoder (task ``feature-extraction``): vectors of a text, one for each token and one for all of it."""

    config: Any
    """An :class:`EmbeddingConfig`."""

    def __call__(self, tokens: torch.Tensor, attention_mask: torch.Tensor) -> Tensors:
        """``[1, T]`` int32 and ``[1, T]`` int32 (1 for a token, 0 for padding) to ``embedding [1, D]`` and
        ``token_vectors [1, T, D]``."""
        ...

    def signatures(self, encode_lengths: Sequence[int]) -> list[Signature]:
        """``encode_<N>`` for each length, in tokens."""
        ...


@runtime_checkable
class Seq2SeqLM(Protocol):
    """An encoder-decoder (task ``text2text-generation``): reads one text and answers with another."""

    config: Any
    """A :class:`Seq2SeqConfig`."""

    def __call__(self, tokens: torch.Tensor, *args: Any, **kwargs: Any) -> Tensors:
        """Encode with ``(tokens, attention_mask)``, which gives ``encoder_states``; or decode with
        ``(tokens, input_pos=, kv_cache=, encoder_states=)``, which gives ``kv_cache`` and ``logits``."""
        ...

    def new_cache(self, length: int, device: str | torch.device | None = None) -> Any:
        """As :meth:`CausalLM.new_cache`, for the answer."""
        ...

    def signatures(
        self,
        encode_lengths: Sequence[int],
        prefill_lengths: Sequence[int],
        cache_length: int,
        cache_buckets: Sequence[int] = (),
    ) -> list[Signature]:
        """``encode_<N>``, and those of :meth:`CausalLM.signatures` for the answer."""
        ...


@runtime_checkable
class SupportsLora(Protocol):
    """A decoder that takes a LoRA adapter as input (``--lora-rank``): ``signatures`` takes ``lora_rank`` too."""

    def signatures(self, *args: Any, lora_rank: int | None = None, **kwargs: Any) -> list[Signature]:
        """As :meth:`CausalLM.signatures`; with a rank every signature takes an adapter of that rank."""
        ...

    def lora_projections(self) -> Sequence[Mapping[str, tuple[str, int]]]:
        """For each block: projection (``q``, ``k``, ``v``, ``o``) -> parameter that holds it, and its rows there."""
        ...

    def adapter(self, inputs: Mapping[str, npt.NDArray[np.float32]]) -> Any:
        """The adapter argument of the module's call, from arrays by the names of the file's inputs."""
        ...


@runtime_checkable
class SupportsVerifyLengths(Protocol):
    """A decoder with ``verify_<N>`` signatures (``--verify-lengths``): logits after each of N tokens."""

    def signatures(self, *args: Any, verify_lengths: Sequence[int] = (), **kwargs: Any) -> list[Signature]:
        """As :meth:`CausalLM.signatures`, with a ``verify_<N>`` for each of ``verify_lengths``."""
        ...


@runtime_checkable
class SupportsChannelScaling(Protocol):
    """A module that names channels which can be scaled without changing what it computes in floats."""

    def scaling_groups(self) -> Sequence[ScalingGroup]:
        """Channels with their producers and consumers, see :mod:`edgegen.quantization.channel_scaling`."""
        ...

    def add_scales(self, name: str) -> None:
        """Add the parameter ``name``, the ``added`` of a scaling group: ones that multiply its channels."""
        ...


@runtime_checkable
class LimitsRollback(Protocol):
    """A decoder whose cache cannot forget every token again (ring buffers, recurrent states)."""

    def max_rollback(self, cache_length: int) -> int | None:
        """Most tokens that a cache of ``cache_length`` slots can be rolled back by; None for all of them."""
        ...


P = TypeVar("P")


def missing(module: object, protocol: type[Any]) -> list[str]:
    """Members of ``protocol`` that ``module`` lacks, e.g. ``["new_cache()", "signatures(lora_rank=)"]``; empty if it
    fulfils it."""
    lacking: list[str] = []
    for name in sorted(_members(protocol)):
        wanted = getattr(protocol, name, None)
        if not callable(wanted):
            lacking += [] if hasattr(module, name) else [name]
        elif not callable(found := getattr(module, name, None)):
            lacking.append(f"{name}()")
        elif not _takes_positional(found, wanted):
            lacking.append(f"{name}({', '.join(_positional(wanted))})")
        else:
            lacking += [f"{name}({keyword}=)" for keyword in _keywords(wanted) if not _accepts(found, keyword)]
    return lacking


def supports(module: object, protocol: type[P]) -> P | None:
    """``module`` as a ``protocol``, or None where it lacks a member of it."""
    return None if missing(module, protocol) else module  # type: ignore[return-value]


def require(module: object, protocol: type[P], owner: str) -> P:
    """``module`` as a ``protocol``.

    Args:
        module: a builder's result.
        protocol: one of this module's.
        owner: for the message: the family and the package that it comes from.

    Raises:
        PluginError: it lacks members; all are named.
    """
    lacking = missing(module, protocol)
    if lacking:
        raise PluginError(
            f"the {type(module).__name__} of {owner} is no {protocol.__name__}: it lacks {', '.join(lacking)}",
            code=ErrorCode.PROTOCOL_MISMATCH,
            hint=f"see {protocol.__module__}.{protocol.__name__}, and docs/reference/hooks.md",
        )
    return module  # type: ignore[return-value]


def _members(protocol: type[Any]) -> set[str]:
    names = {name for name in vars(protocol) if not name.startswith("_")}
    return {*names, *(name for name in getattr(protocol, "__annotations__", {}) if not name.startswith("_"))}


def _positional(method: Any) -> list[str]:
    """Parameters of a protocol's method that may be given by position, ``self`` left out."""
    parameters = inspect.signature(method).parameters.values()
    return [each.name for each in parameters if each.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD][1:]


def _takes_positional(method: Any, wanted: Any) -> bool:
    """True if a bound method takes as many positional arguments as the protocol's, where that has a fixed number."""
    if any(each.kind is each.VAR_POSITIONAL for each in inspect.signature(wanted).parameters.values()):
        return True
    signature = inspect.signature(method)
    keywords = {each.name: None for each in signature.parameters.values() if each.kind is each.KEYWORD_ONLY}
    try:
        signature.bind(*_positional(wanted), **keywords)
    except TypeError:
        return False
    return True


def _keywords(method: Any) -> list[str]:
    """Keyword-only parameters of a protocol's method."""
    parameters = inspect.signature(method).parameters.values()
    return [each.name for each in parameters if each.kind is inspect.Parameter.KEYWORD_ONLY]


def _accepts(method: Any, keyword: str) -> bool:
    """True if an argument can be given by that name."""
    parameters = inspect.signature(method).parameters
    if any(each.kind is inspect.Parameter.VAR_KEYWORD for each in parameters.values()):
        return True
    named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return keyword in parameters and parameters[keyword].kind in named
