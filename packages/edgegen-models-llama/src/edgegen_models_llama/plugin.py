"""Plugin: the model family Llama."""

from collections.abc import Iterable

from edgegen import hookimpl
from edgegen.descriptors import ModelFamily
from edgegen_models_llama.variants import VARIANTS


@hookimpl
def edgegen_model_families() -> Iterable[ModelFamily]:
    yield ModelFamily(
        name="llama",
        summary="Llama and its kin: SmolLM, SmolLM2, TinyLlama, Llama 2 and 3, DeepSeek distilled, Mistral",
        variants=VARIANTS,
        config="edgegen_models_llama.llama:config",
        builder="edgegen_layers.families.llama:build",
        read_config="edgegen_models_llama.llama:read_config",
        weight_maps={
            "huggingface": "edgegen_layers.families.llama:huggingface",
            "gguf": "edgegen_layers.families.llama:gguf_interleaved",
        },
    )
