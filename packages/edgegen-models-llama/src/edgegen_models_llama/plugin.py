"""What this package offers to edgegen."""

from collections.abc import Iterable

from edgegen import hookimpl
from edgegen.descriptors import ModelFamily
from edgegen_models_llama.variants import VARIANTS


@hookimpl
def edgegen_model_families() -> Iterable[ModelFamily]:
    yield ModelFamily(
        name="llama",
        summary="Llama-shaped decoders: SmolLM, SmolLM2, TinyLlama",
        variants=VARIANTS,
        config="edgegen_models_llama.model:config",
        builder="edgegen_models_llama.model:build",
        read_config="edgegen_models_llama.model:read_config",
        weight_maps={
            "huggingface": "edgegen_models_llama.model:huggingface",
            "gguf": "edgegen_models_llama.model:gguf",
        },
    )
