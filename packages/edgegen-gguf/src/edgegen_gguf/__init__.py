"""GGUF checkpoints for edgegen: weights by slices, hyper-parameters, and the tokenizer as files."""

from edgegen_gguf._version import __version__

__all__ = ["__version__"]
