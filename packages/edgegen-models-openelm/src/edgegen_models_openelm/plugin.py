"""Plugin: the model family OpenELM."""

from collections.abc import Iterable

from edgegen import hookimpl
from edgegen.descriptors import ModelFamily
from edgegen_models_openelm.variants import VARIANTS


@hookimpl
def edgegen_model_families() -> Iterable[ModelFamily]:
    yield ModelFamily(
        name="openelm",
        summary="OpenELM 270M to 3B: blocks that widen with depth",
        variants=VARIANTS,
        config="edgegen_models_openelm.openelm:config",
        builder="edgegen_models_openelm.openelm:build",
        read_config="edgegen_models_openelm.checkpoint_config:read_config",
        weight_maps={
            "huggingface": "edgegen_models_openelm.openelm:huggingface",
            "gguf": "edgegen_models_openelm.openelm:gguf",
        },
    )
