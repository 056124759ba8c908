"""Plugin: the model family Gemma."""

from collections.abc import Iterable

from edgegen import hookimpl
from edgegen.descriptors import ModelFamily
from edgegen_models_gemma.variants import VARIANTS


@hookimpl
def edgegen_model_families() -> Iterable[ModelFamily]:
    yield ModelFamily(
        name="gemma",
        summary="Gemma, Gemma 2 and Gemma 3 (text)",
        variants=VARIANTS,
        config="edgegen_models_gemma.gemma:config",
        builder="edgegen_models_gemma.gemma:build",
        read_config="edgegen_models_gemma.checkpoint_config:read_config",
        weight_maps={
            "huggingface": "edgegen_models_gemma.gemma:huggingface",
            "gguf": "edgegen_models_gemma.gemma:gguf",
            "gemma-pytorch": "edgegen_models_gemma.gemma_pytorch:gemma_pytorch",
        },
    )
