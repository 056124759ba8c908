"""Checkpoints in Hugging Face's layout: safetensors, repository files, installed packages, the hub."""

from edgegen_huggingface._version import __version__

__all__ = ["__version__"]
