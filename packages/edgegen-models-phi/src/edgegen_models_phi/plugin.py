"""Plugin: the model family Phi."""

from collections.abc import Iterable

from edgegen import hookimpl
from edgegen.descriptors import ModelFamily
from edgegen_models_phi.variants import VARIANTS


@hookimpl
def edgegen_model_families() -> Iterable[ModelFamily]:
    yield ModelFamily(
        name="phi",
        summary="Phi-2, Phi-3, Phi-3.5 and Phi-4 mini",
        variants=VARIANTS,
        config="edgegen_models_phi.phi:config",
        builder="edgegen_models_phi.phi:build",
        read_config="edgegen_models_phi.checkpoint_config:read_config",
        config_for_context="edgegen_models_phi.phi:config_for_context",
        weight_maps={
            "huggingface": "edgegen_models_phi.phi:huggingface",
            "gguf": "edgegen_models_phi.phi:gguf",
        },
    )
