"""Phi models for edgegen: Phi-2, Phi-3 mini, Phi-3.5 mini, Phi-4 mini."""

from edgegen_models_phi._version import __version__

__all__ = ["__version__"]
