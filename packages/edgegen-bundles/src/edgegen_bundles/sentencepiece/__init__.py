"""Hugging Face BPE tokenizers as SentencePiece models, and how far the two agree."""

from edgegen_bundles.sentencepiece.compare import Comparison, compare, percent, sentence
from edgegen_bundles.sentencepiece.convert import Conversion, convert

__all__ = ["Comparison", "Conversion", "compare", "convert", "percent", "sentence"]
