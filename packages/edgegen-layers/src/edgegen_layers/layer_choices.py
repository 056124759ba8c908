"""Replaceable building blocks: their protocols, and the choice between implementations (``--layer BLOCK=NAME``).

Four blocks have one, each a protocol here: ``attention`` (:class:`~edgegen_layers.kernels.AttentionKernel`: how to
attend to the cache), ``mixer`` (:class:`Mixer`: a decoder block's whole attention sublayer), ``mlp`` (:class:`Mlp`) and
``norm`` (:class:`Norm`: those of the residual stream). The built-in implementations are registered through the hook
``edgegen_layers`` like any other.

An implementation computes what the built-in one computes, from parameters of the same names and shapes: weight maps,
adapters and channel scaling rely on both. What it cannot do it states in ``LayerImpl(unsupported=...)``, in the words
of :data:`~edgegen_layers.config.FEATURES`; a model that needs it is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Mapping
from typing import Any, Protocol, TypeVar

import torch
from torch import nn

from edgegen.errors import ErrorCode, PluginError, UnsupportedError, UsageError
from edgegen.modeling import require
from edgegen.plugins import load, registry
from edgegen.plugins.calls import plugin_code, returned
from edgegen_layers.attention import AttentionInputs
from edgegen_layers.config import FEATURES, AttentionConfig, FeedForwardConfig, NormalizationConfig
from edgegen_layers.kernels import AttentionKernel
from edgegen_layers.lora import AttentionLora

BLOCKS = ("attention", "mixer", "mlp", "norm")
"""Blocks that a model may have implementations for."""


class Norm(Protocol):
    """Block ``norm``, a module: normalization over the last axis.

    Parameters ``weight [D]`` where the configuration has a scale, and ``bias [D]`` where it has a bias.
    """

    config: NormalizationConfig

    def __init__(self, hidden_size: int, config: NormalizationConfig) -> None: ...

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """``[..., D] -> [..., D]``."""
        ...


class Mlp(Protocol):
    """Block ``mlp``, a module: a feed-forward layer.

    Parameters ``gate_up.weight [2 F, D]`` (gate's rows first) or, not gated, ``up.weight [F, D]``; ``down.weight
    [D, F]``; biases of the same names. For experts see :class:`~edgegen_layers.moe.MixtureOfExperts`.
    """

    config: FeedForwardConfig

    def __init__(self, hidden_size: int, config: FeedForwardConfig) -> None: ...

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """``[B, T, D] -> [B, T, D]``."""
        ...


class Mixer(Protocol):
    """Block ``mixer``, a module: causal self-attention of T tokens over a cache, projections included.

    Parameters ``qkv.weight [(N + 2 KH) H, D]`` (or ``query``, ``key`` and ``value``, not fused), ``output.weight
    [D, N H]``, biases of the same names, ``query_norm.weight`` and ``key_norm.weight [H]``.
    """

    config: AttentionConfig

    def __init__(self, hidden_size: int, config: AttentionConfig, kernel: AttentionKernel) -> None:
        """``kernel`` is shared by all blocks; it owns the layout of the cache and of the mask."""
        ...

    def __call__(
        self,
        x: torch.Tensor,
        inputs: AttentionInputs,
        keys: torch.Tensor,
        values: torch.Tensor,
        lora: AttentionLora | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """``x [1, T, D]`` to ``[1, T, D]``, and the cache's new keys and values."""
        ...


M = TypeVar("M", bound=nn.Module)
P = TypeVar("P")


class LayerChoices:
    """Implementations of a model's blocks: looked up while it is built, each choice checked for having an effect.

    A family's builder::

        def build(config, *, layers):
            return LayerChoices(layers).build(Llama, config)

    Args:
        chosen: block -> name of the implementation, where not the default.
    """

    def __init__(self, chosen: Mapping[str, str] | None = None) -> None:
        self.chosen = dict(chosen or {})
        self.used: dict[str, set[str]] = {}
        """Block -> names of the implementations that were looked up."""

    @property
    def key(self) -> Hashable:
        """Part of a block's trace key."""
        return tuple(sorted(self.chosen.items()))

    def build(self, model: Callable[..., M], config: Any) -> M:
        """``model(config, self)``, after which every choice must have been used; see :meth:`finish`."""
        built = model(config, self)
        self.finish()
        return built

    def attention(self, *configs: AttentionConfig, needs: Collection[str] = ()) -> AttentionKernel:
        """The kernel that all blocks attend with.

        Args:
            configs: attention of the blocks.
            needs: features that no configuration states, such as ``position_bias``.

        Raises:
            UsageError: there is no implementation of the chosen name.
            UnsupportedError: it lacks a feature that the model needs.
        """
        features = frozenset(needs).union(*(config.features for config in configs))
        return self._made("attention", "matmul", features, AttentionKernel)

    def mixer(self, hidden_size: int, config: AttentionConfig, kernel: AttentionKernel) -> Mixer:
        """A decoder block's attention sublayer; raises as :meth:`attention` does."""
        return self._made("mixer", "attention", config.features, Mixer, hidden_size, config, kernel)

    def mlp(self, hidden_size: int, config: FeedForwardConfig) -> Mlp:
        """A block's feed-forward layer; raises as :meth:`attention` does."""
        default = "experts" if config.num_experts is not None else "gated" if config.gated else "plain"
        return self._made("mlp", default, config.features, Mlp, hidden_size, config)

    def norm(self, hidden_size: int, config: NormalizationConfig) -> Norm:
        """A normalization of the residual stream; raises as :meth:`attention` does."""
        return self._made("norm", config.kind, config.features, Norm, hidden_size, config)

    def finish(self) -> None:
        """Make sure that every choice was looked up.

        Raises:
            UsageError: the model has no such block.
        """
        unused = [f"{block}={name}" for block, name in self.chosen.items() if block not in self.used]
        if unused:
            raise UsageError(
                f"--layer {unused[0]} has no effect: this model has no block {unused[0].partition('=')[0]!r} "
                "that an implementation is chosen for",
                code=ErrorCode.UNKNOWN_LAYER_BLOCK,
                details=[
                    f"{block:<10}  {', '.join(sorted(names))}; installed: {', '.join(_installed(block))}"
                    for block, names in sorted(self.used.items())
                ],
                hint=f"choose for one that it has: {', '.join(sorted(self.used)) or 'none'}",
            )

    def _made(self, block: str, default: str, features: frozenset[str], protocol: type[P], *arguments: Any) -> P:
        """A block of its implementation, which is checked for what the model calls."""
        implementation = self._implementation(block, default, features)
        name = self.chosen.get(block, default)
        owner = f"layer {block}={name} ({registry().layers[block, name].distribution})"
        with plugin_code(owner, "implementation"):
            made = implementation(*arguments)
        if block != "attention":
            returned(made, nn.Module, owner, "implementation")
        return require(made, protocol, owner)

    def _implementation(self, block: str, default: str, features: frozenset[str]) -> Any:
        name = self.chosen.get(block, default)
        described = registry().layer(block, name)
        self.used.setdefault(block, set()).add(name)
        if described.unsupported:
            self._check(block, name, described.unsupported, features)
        return load(described.impl)

    def _check(self, block: str, name: str, unsupported: tuple[str, ...], features: frozenset[str]) -> None:
        package = registry().layers[block, name].distribution
        known = FEATURES["attention" if block == "mixer" else block]
        unknown = sorted(set(unsupported) - known)
        if unknown:
            raise PluginError(
                f"layer {block}={name} of {package} does without {', '.join(unknown)}, which is no feature of {block}",
                code=ErrorCode.INVALID_DESCRIPTOR,
                hint=f"unsupported takes {', '.join(sorted(known))}",
            )
        lacking = sorted(features.intersection(unsupported))
        if lacking:
            able = ", ".join(_able(block, features)) or "none can"
            raise UnsupportedError(
                f"{block}={name} of {package} does not support {', '.join(lacking)}, which this model needs",
                code=ErrorCode.LAYER_FEATURES_MISSING,
                hint=f"leave out --layer {block}={name}, or name another: {able}",
            )


def _able(block: str, features: frozenset[str]) -> list[str]:
    """Implementations that can do what the model needs."""
    described = {name: each.descriptor for (of, name), each in registry().layers.items() if of == block}
    return sorted(name for name, each in described.items() if features.isdisjoint(each.unsupported))


def _installed(block: str) -> list[str]:
    return sorted(name for of, name in registry().layers if of == block)
