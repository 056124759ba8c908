"""Gemma models for edgegen: three generations of one architecture."""

from edgegen_models_gemma._version import __version__

__all__ = ["__version__"]
