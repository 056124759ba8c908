"""Bundle a ``.tflite`` file for LiteRT-LM, continue a text with it and print what it said; ``large_files.py`` calls it.

Runs in an environment that has litert-lm and litert-lm-builder, and need not have edgegen.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import litert_lm
from litert_lm_builder import litertlm_builder
from litert_lm_builder.runtime.proto import llm_metadata_pb2


def bundle(model: Path, tokenizer: Path, stop_token: int, target: Path) -> None:
    """The least that the client accepts: what ends a text, the tokenizer and the model."""
    metadata = llm_metadata_pb2.LlmMetadata()
    metadata.stop_tokens.add().token_ids.ids.append(stop_token)
    metadata.llm_model_type.generic_model.SetInParent()
    described = target.with_suffix(".pb")
    described.write_bytes(metadata.SerializeToString())
    text = litertlm_builder.DType.STRING
    builder = litertlm_builder.LitertLmFileBuilder()
    builder.add_system_metadata(litertlm_builder.Metadata(key="Authors", value="edgegen bench", dtype=text))
    builder.add_llm_metadata(str(described))
    builder.add_hf_tokenizer(str(tokenizer))
    builder.add_tflite_model(str(model), litertlm_builder.TfLiteModelType.PREFILL_DECODE)
    with target.open("wb") as stream:
        builder.build(stream)


def continuation(model: Path, prompt: str, count: int, cache_dir: Path) -> str:
    """Greedy: about ``count`` tokens after the prompt."""
    engine = litert_lm.Engine(str(model), litert_lm.Backend.CPU(), cache_dir=str(cache_dir))
    greedy = litert_lm.SamplerConfig(top_k=1, temperature=0.0)
    said: list[str] = []
    with engine, engine.create_session(apply_prompt_template=False, sampler_config=greedy) as session:
        session.run_prefill([prompt])
        for response in session.run_decode_async():
            said += response.texts
            if len(said) >= count:
                session.cancel_process()
                break
    return "".join(said)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, help="a .tflite file")
    parser.add_argument("tokenizer", type=Path, help="its tokenizer.json")
    parser.add_argument("prompt")
    parser.add_argument("--stop-token", type=int, default=2)
    parser.add_argument("--count", type=int, default=12, help="tokens to say")
    parser.add_argument("--folder", type=Path, required=True, help="where the bundle and packed weights go")
    arguments = parser.parse_args()
    bundled = arguments.folder / "model.litertlm"
    bundle(arguments.model, arguments.tokenizer, arguments.stop_token, bundled)
    print(json.dumps({"text": continuation(bundled, arguments.prompt, arguments.count, arguments.folder)}))


if __name__ == "__main__":
    main()
