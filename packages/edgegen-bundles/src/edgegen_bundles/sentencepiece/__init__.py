"""Hugging Face BPE tokenizers as SentencePiece models, and how far the two agree."""

from edgegen_bundles.sentencepiece.comparison import Comparison, compare, percent, sentence
from edgegen_bundles.sentencepiece.conversion import Conversion, convert

__all__ = ["Comparison", "Conversion", "compare", "convert", "percent", "sentence"]
