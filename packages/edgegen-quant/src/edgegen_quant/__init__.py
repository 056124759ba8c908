"""Quantization schemes for edgegen."""

from edgegen_quant._version import __version__

__all__ = ["__version__"]
