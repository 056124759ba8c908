"""Run models that edgegen exported, on LiteRT.

::

    import edgegen_runtime

    model = edgegen_runtime.load("smollm2-135m-instruct")
    for piece in model.chat([{"role": "user", "content": "Name the capital of France."}]).text():
        print(piece, end="", flush=True)

Importing this package imports none of its dependencies; each name loads its module when it is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from edgegen_runtime._version import __version__

if TYPE_CHECKING:
    from pathlib import Path

    from edgegen_runtime.bundle import ExportedModel
    from edgegen_runtime.cache.kv_cache import KVCache
    from edgegen_runtime.cache.prefix_cache import PrefixCache
    from edgegen_runtime.conversation import Conversation
    from edgegen_runtime.embedding.embedder import Embedder, similarity
    from edgegen_runtime.evaluation.benchmark import Benchmark, measure
    from edgegen_runtime.generation.config import GenerationConfig
    from edgegen_runtime.generation.generation import Generation, Timings
    from edgegen_runtime.generation.language_model import LanguageModel
    from edgegen_runtime.generation.sampling import SamplingOptions
    from edgegen_runtime.generation.seq2seq import TextToTextModel
    from edgegen_runtime.generation.speculative import DraftModel, PromptLookup
    from edgegen_runtime.generation.structured_output import ResponseFormat
    from edgegen_runtime.text.chat_template import ChatTemplate
    from edgegen_runtime.text.tokenizer import Tokenizer, open_tokenizer

__all__ = [
    "Benchmark",
    "ChatTemplate",
    "Conversation",
    "DraftModel",
    "Embedder",
    "ExportedModel",
    "Generation",
    "GenerationConfig",
    "KVCache",
    "LanguageModel",
    "PrefixCache",
    "PromptLookup",
    "ResponseFormat",
    "SamplingOptions",
    "TextToTextModel",
    "Timings",
    "Tokenizer",
    "__version__",
    "load",
    "load_embedder",
    "measure",
    "open_tokenizer",
    "similarity",
]

_HOME = {
    "Benchmark": "evaluation.benchmark",
    "ExportedModel": "bundle",
    "ChatTemplate": "text.chat_template",
    "KVCache": "cache.kv_cache",
    "Conversation": "conversation",
    "DraftModel": "generation.speculative",
    "Embedder": "embedding.embedder",
    "ResponseFormat": "generation.structured_output",
    "Generation": "generation.generation",
    "GenerationConfig": "generation.config",
    "LanguageModel": "generation.language_model",
    "PrefixCache": "cache.prefix_cache",
    "PromptLookup": "generation.speculative",
    "SamplingOptions": "generation.sampling",
    "TextToTextModel": "generation.seq2seq",
    "Timings": "generation.generation",
    "Tokenizer": "text.tokenizer",
    "measure": "evaluation.benchmark",
    "open_tokenizer": "text.tokenizer",
    "similarity": "embedding.embedder",
}


def load(path: Path | str, *, threads: int | None = None, weight_cache: Path | str | None = None) -> LanguageModel:
    """Load the exported folder of a model that generates text; see :meth:`LanguageModel.load`.

    An encoder-decoder is a :class:`TextToTextModel`.
    """
    from edgegen_runtime.bundle import ExportedModel
    from edgegen_runtime.generation.language_model import LanguageModel
    from edgegen_runtime.generation.seq2seq import TextToTextModel

    kind = TextToTextModel if ExportedModel.open(path).task == TextToTextModel.TASK else LanguageModel
    return kind.load(path, threads=threads, weight_cache=weight_cache)


def load_embedder(path: Path | str, *, threads: int | None = None, weight_cache: Path | str | None = None) -> Embedder:
    """Load the exported folder of an encoder; see :meth:`Embedder.load`."""
    from edgegen_runtime.embedding.embedder import Embedder

    return Embedder.load(path, threads=threads, weight_cache=weight_cache)


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
