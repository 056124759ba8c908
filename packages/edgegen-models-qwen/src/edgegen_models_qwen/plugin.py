"""Plugin: the model family Qwen."""

from collections.abc import Iterable

from edgegen import hookimpl
from edgegen.descriptors import ModelFamily
from edgegen_models_qwen.variants import VARIANTS


@hookimpl
def edgegen_model_families() -> Iterable[ModelFamily]:
    yield ModelFamily(
        name="qwen",
        summary="Qwen2, Qwen2.5 and Qwen3",
        variants=VARIANTS,
        config="edgegen_models_qwen.qwen:config",
        read_config="edgegen_models_qwen.qwen:read_config",
        builder="edgegen_layers.families.llama:build",
        weight_maps={
            "huggingface": "edgegen_layers.families.llama:huggingface",
            "gguf": "edgegen_layers.families.llama:gguf",
        },
    )
