"""What this package offers to edgegen. Imports neither torch nor layers, so that listing stays fast."""

from collections.abc import Iterable

from edgegen import hookimpl
from edgegen.descriptors import ModelFamily, Variant

# name, repository, parameters, context, licence
BERT = (
    ("bert-base-uncased", "google-bert/bert-base-uncased", 108_891_648, 512, "apache-2.0"),
    ("bert-base-cased", "google-bert/bert-base-cased", 107_719_680, 512, "apache-2.0"),
    ("bert-large-uncased", "google-bert/bert-large-uncased", 334_092_288, 512, "apache-2.0"),
    ("all-minilm-l6-v2", "sentence-transformers/all-MiniLM-L6-v2", 22_565_376, 512, "apache-2.0"),
    ("all-minilm-l12-v2", "sentence-transformers/all-MiniLM-L12-v2", 33_212_160, 512, "apache-2.0"),
    ("bge-small-en-v1.5", "BAAI/bge-small-en-v1.5", 33_212_160, 512, "mit"),
    ("bge-base-en-v1.5", "BAAI/bge-base-en-v1.5", 108_891_648, 512, "mit"),
    ("e5-small-v2", "intfloat/e5-small-v2", 33_212_160, 512, "mit"),
)
T5 = (
    ("t5-small", "google-t5/t5-small", 60_506_624, 512, "apache-2.0"),
    ("t5-base", "google-t5/t5-base", 222_903_552, 512, "apache-2.0"),
    ("t5-large", "google-t5/t5-large", 737_668_096, 512, "apache-2.0"),
    ("flan-t5-small", "google/flan-t5-small", 76_961_152, 512, "apache-2.0"),
    ("flan-t5-base", "google/flan-t5-base", 247_577_856, 512, "apache-2.0"),
    ("flan-t5-large", "google/flan-t5-large", 783_150_080, 512, "apache-2.0"),
)


@hookimpl
def edgegen_model_families() -> Iterable[ModelFamily]:
    yield ModelFamily(
        name="bert",
        summary="BERT, and sentence embedders of its architecture",
        task="feature-extraction",
        variants=tuple(
            Variant(name=name, source=source, parameters=size, context_length=context, license=terms)
            for name, source, size, context, terms in BERT
        ),
        config="edgegen_models_encoders.bert:config",
        read_config="edgegen_models_encoders.bert:read_config",
        builder="edgegen_models_encoders.bert:build",
        weight_maps={"huggingface": "edgegen_models_encoders.bert:huggingface"},
    )
    yield ModelFamily(
        name="t5",
        summary="T5 and Flan-T5",
        task="text2text-generation",
        variants=tuple(
            Variant(
                name=name,
                source=source,
                parameters=size,
                context_length=context,
                license=terms,
                stop_tokens=("</s>",),
            )
            for name, source, size, context, terms in T5
        ),
        config="edgegen_models_encoders.t5:config",
        read_config="edgegen_models_encoders.t5:read_config",
        builder="edgegen_models_encoders.t5:build",
        weight_maps={"huggingface": "edgegen_models_encoders.t5:huggingface"},
    )
