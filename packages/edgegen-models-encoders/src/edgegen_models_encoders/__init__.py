"""Encoders and encoder-decoders for edgegen: BERT, sentence embedders, T5."""

from edgegen_models_encoders._version import __version__

__all__ = ["__version__"]
