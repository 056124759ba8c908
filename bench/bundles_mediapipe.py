"""What a bundle answers in MediaPipe, whose engine for language models reads ``.task`` files. Runs in an environment of
its own.

    python bundles_mediapipe.py BUNDLE TOKENS QUESTION...

MediaPipe for Python has no LLM Inference API, but its text summarizer runs the same engine and takes any bundle: it
puts the text into the chat template as it is and hands back the answer.

Prints a JSON list of answers, one for each question, in order.
"""

from __future__ import annotations

import json
import sys

from mediapipe.tasks.python.core.base_options import BaseOptions
from mediapipe.tasks.python.text.text_summarizer import TextSummarizer, TextSummarizerOptions


def main(bundle: str, tokens: str, *questions: str) -> None:
    base = BaseOptions(model_asset_path=bundle)
    engine = TextSummarizer.create_from_options(
        TextSummarizerOptions(base_options=base, max_num_tokens=int(tokens), cache_dir=":nocache")
    )
    print(json.dumps([engine.summarize(question).summary for question in questions]))
    engine.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
