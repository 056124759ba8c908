"""OpenELM models for edgegen, 270M to 3B."""

from edgegen_models_openelm._version import __version__

__all__ = ["__version__"]
