"""Qwen models for edgegen: Qwen2, Qwen2.5, Qwen3."""

from edgegen_models_qwen._version import __version__

__all__ = ["__version__"]
