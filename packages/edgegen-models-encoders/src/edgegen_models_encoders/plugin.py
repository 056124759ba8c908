"""Plugin: encoders and encoder-decoders, BERT and T5."""

from collections.abc import Iterable

from edgegen import hookimpl
from edgegen.descriptors import ModelFamily
from edgegen_models_encoders.variants import BERT_VARIANTS, T5_VARIANTS


@hookimpl
def edgegen_model_families() -> Iterable[ModelFamily]:
    yield ModelFamily(
        name="bert",
        summary="BERT, and sentence embedders of its architecture",
        task="feature-extraction",
        variants=BERT_VARIANTS,
        config="edgegen_models_encoders.bert:config",
        read_config="edgegen_models_encoders.bert:read_config",
        builder="edgegen_models_encoders.bert:build",
        weight_maps={"huggingface": "edgegen_models_encoders.bert:huggingface"},
    )
    yield ModelFamily(
        name="t5",
        summary="T5 and Flan-T5",
        task="text2text-generation",
        variants=T5_VARIANTS,
        config="edgegen_models_encoders.t5:config",
        read_config="edgegen_models_encoders.t5_checkpoint_config:read_config",
        builder="edgegen_models_encoders.t5:build",
        weight_maps={"huggingface": "edgegen_models_encoders.t5:huggingface"},
    )
