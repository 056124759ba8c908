"""Hugging Face BPE tokenizers as SentencePiece models, and how far the two agree."""

from edgegen_bundles.conversion.building import Conversion, convert
from edgegen_bundles.conversion.comparing import Comparison, compare, percent, sentence

__all__ = ["Comparison", "Conversion", "compare", "convert", "percent", "sentence"]
