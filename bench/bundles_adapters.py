"""What LiteRT-LM says with each of several adapters in one process. Runs in LiteRT-LM's own environment.

    python bundles_adapters.py BUNDLE RANK TOKENS PROMPT ADAPTER.tflite...

Prints a JSON list of texts, one for each adapter, in order.
"""

from __future__ import annotations

import json
import sys

import litert_lm


def main(bundle: str, rank: str, tokens: str, prompt: str, *adapters: str) -> None:
    texts = []
    ranks = litert_lm.LoraRankConfig(lora_rank=int(rank))
    with litert_lm.Engine(bundle, max_num_tokens=int(tokens), lora_rank_config=ranks) as engine:
        for adapter in adapters:
            chosen = litert_lm.LoraConfig(lora_path=adapter)
            with engine.create_session(apply_prompt_template=False, lora_config=chosen) as session:
                session.run_prefill([prompt])
                texts.append(session.run_decode().texts[0])
    print(json.dumps(texts))


if __name__ == "__main__":
    main(*sys.argv[1:])
