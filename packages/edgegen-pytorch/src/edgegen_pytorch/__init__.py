"""PyTorch checkpoints for edgegen: state dicts read by slices, without torch and without running their code."""

from edgegen_pytorch._version import __version__

__all__ = ["__version__"]
