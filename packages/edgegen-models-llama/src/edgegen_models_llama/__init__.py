"""Llama and its kin for edgegen: SmolLM, TinyLlama, Llama 2 and 3, DeepSeek distilled, Mistral."""

from edgegen_models_llama._version import __version__

__all__ = ["__version__"]
