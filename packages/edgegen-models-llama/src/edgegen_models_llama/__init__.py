"""Llama-shaped models for edgegen: SmolLM, SmolLM2, TinyLlama."""

from edgegen_models_llama._version import __version__

__all__ = ["__version__"]
