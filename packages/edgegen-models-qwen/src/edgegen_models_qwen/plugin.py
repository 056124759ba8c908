"""What this package offers to edgegen. Imports neither torch nor layers, so that listing stays fast."""

from collections.abc import Iterable

from edgegen import hookimpl
from edgegen.descriptors import ModelFamily, Variant

TURN, TEXT = ("<|im_end|>", "<|endoftext|>"), ("<|endoftext|>",)

# name, repository, parameters, context, stop tokens, licence
ROWS = (
    ("qwen2-0.5b-instruct", "Qwen/Qwen2-0.5B-Instruct", 494_032_768, 32_768, TURN, "apache-2.0"),
    ("qwen2-1.5b-instruct", "Qwen/Qwen2-1.5B-Instruct", 1_543_714_304, 32_768, TURN, "apache-2.0"),
    ("qwen2.5-0.5b", "Qwen/Qwen2.5-0.5B", 494_032_768, 32_768, TEXT, "apache-2.0"),
    ("qwen2.5-0.5b-instruct", "Qwen/Qwen2.5-0.5B-Instruct", 494_032_768, 32_768, TURN, "apache-2.0"),
    ("qwen2.5-1.5b-instruct", "Qwen/Qwen2.5-1.5B-Instruct", 1_543_714_304, 32_768, TURN, "apache-2.0"),
    ("qwen2.5-3b-instruct", "Qwen/Qwen2.5-3B-Instruct", 3_085_938_688, 32_768, TURN, "qwen-research"),
    ("qwen3-0.6b", "Qwen/Qwen3-0.6B", 596_049_920, 40_960, TURN, "apache-2.0"),
    ("qwen3-1.7b", "Qwen/Qwen3-1.7B", 1_720_574_976, 40_960, TURN, "apache-2.0"),
    ("qwen3-4b", "Qwen/Qwen3-4B", 4_022_468_096, 40_960, TURN, "apache-2.0"),
)


@hookimpl
def edgegen_model_families() -> Iterable[ModelFamily]:
    yield ModelFamily(
        name="qwen",
        summary="Qwen2, Qwen2.5 and Qwen3",
        variants=tuple(
            Variant(name=name, source=source, parameters=size, context_length=context, stop_tokens=stop, license=terms)
            for name, source, size, context, stop, terms in ROWS
        ),
        config="edgegen_models_qwen.model:config",
        read_config="edgegen_models_qwen.model:read_config",
        builder="edgegen_layers.families.llama:build",
        weight_maps={
            "huggingface": "edgegen_layers.families.llama:huggingface",
            "gguf": "edgegen_layers.families.llama:gguf",
        },
    )
