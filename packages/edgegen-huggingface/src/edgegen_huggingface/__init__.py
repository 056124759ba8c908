"""Checkpoints from the Hugging Face hub for edgegen: named by repository, downloaded once, opened from the cache."""

from edgegen_huggingface._version import __version__

__all__ = ["__version__"]
