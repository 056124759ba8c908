"""Bundles for edgegen: a model with its tokenizer, its chat template and its stop tokens in one file."""

from edgegen_bundles._version import __version__

__all__ = ["__version__"]
