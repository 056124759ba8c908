"""Exports bundles and puts them to LiteRT-LM and MediaPipe: do they say what ``edgegen run`` says, and how fast?

Texts: SmolLM2 and Gemma 3 270M continue texts and answer a question (Gemma, a base model, says something at least);
greedy, and each text has to be that of ``edgegen run`` on the same weights as far as both go. Both clients get
``.task`` files too, SmolLM2's with its tokenizer converted to SentencePiece. Chat templates built as those of
well-known families are, adapted by ``edgegen_bundles``, are rendered by LiteRT-LM and by Jinja. Exits with 1 where
anything differs.

Speed, with ``--reference MODEL.tflite``: LiteRT-LM's own benchmark on SmolLM2's bundle and on the same bundle with
the reference's graph and weights in it, in turn.

    python bench/bundles.py --smollm2 CHECKPOINT --gemma3 CHECKPOINT
    python bench/bundles.py --smollm2 CHECKPOINT --reference build/bench/reference/model.tflite
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from measuring import ROOT, environment, machine, median, note, report, run

LITERT_LM = ("litert-lm==0.18.1", "litert-lm-builder==0.18.1")
MEDIAPIPE = ("mediapipe==1.2.3",)
TEMPLATES = ROOT / "packages" / "edgegen-bundles" / "tests"
TESTS = ROOT / "tests"
QUESTION = "Name the capital of France."
BEGINNINGS = ("The capital of France is", "Once upon a time, there was a", "Water boils at")
TOKENS = 40
RANK = 16
SHOWN = 60
"""Characters of a text in the table."""
SPEEDS = ("prefill", "decode")


@dataclass(frozen=True)
class Exported:
    """The same export twice: a folder for ``edgegen run`` and a bundle for LiteRT-LM."""

    folder: Path
    bundle: Path


def export(variant: str, checkpoint: str, work: Path, *options: str) -> Exported:
    for target in ("tflite", "litertlm"):
        note(f"exporting {variant} to {target}")
        usual = ("--checkpoint", checkpoint, "-o", work / variant / target, "--target", target, "--no-verify")
        run([sys.executable, "-m", "edgegen", "export", variant, *usual, *options])
    return Exported(work / variant / "tflite", work / variant / "litertlm" / f"{variant}.litertlm")


def as_task(exported: Exported, variant: str, checkpoint: str, work: Path) -> Exported:
    """The same export as a ``.task`` file."""
    note(f"exporting {variant} to task")
    options = ("--checkpoint", checkpoint, "-o", work / variant / "task", "--target", "task", "--no-verify")
    run([sys.executable, "-m", "edgegen", "export", variant, *options])
    return replace(exported, bundle=work / variant / "task" / f"{variant}.task")


def edgegen_says(exported: Exported, prompt: str, *options: str) -> str:
    length = ("--max-new-tokens", str(TOKENS))
    return run([sys.executable, "-m", "edgegen", "run", exported.folder, "-p", prompt, *length, *options]).stdout


def litert_lm_says(tools: Path, exported: Exported, prompt: str, *options: str) -> str:
    # The limit counts the prompt as well. The command exits with 0 whatever happens: only the text tells.
    limit = ("--max-num-tokens", str(3 * TOKENS), "--cache", "no")
    printed = run([tools / "litert-lm", "run", exported.bundle, "--prompt", prompt, *limit, *options]).stdout
    # It looks for a .litertlm file's header first, and goes on without.
    return "".join(line for line in printed.splitlines(True) if not line.startswith("Failed to inspect model metadata"))


def compare_texts(name: str, exported: Exported, tools: Path, answer: str) -> list[list[str]]:
    """A row for each prompt: model, prompt, whether both say the same, what they say.

    Args:
        answer: what has to be in the answer to the question.
    """
    rows = []
    for prompt in BEGINNINGS:
        ours = edgegen_says(exported, prompt, "--raw")
        rows.append([name, prompt, *_verdict(ours, litert_lm_says(tools, exported, prompt, "--no-template"))])
    ours = edgegen_says(exported, QUESTION)
    verdict, text = _verdict(ours, litert_lm_says(tools, exported, QUESTION))
    rows.append([name, QUESTION, verdict if answer in text else f"no {answer} in it", text])
    return rows


def compare_in_mediapipe(name: str, task: Exported, tools: Path) -> list[list[str]]:
    """A row for each question, as above; the beginnings of texts are questions too here."""
    questions = (*BEGINNINGS, QUESTION)
    script = [tools / "python", Path(__file__).with_name("bundles_mediapipe.py"), task.bundle, str(3 * TOKENS)]
    answers = json.loads(run([*script, *questions]).stdout.splitlines()[-1])
    rows = zip(questions, answers, strict=True)
    return [[name, question, *_verdict(edgegen_says(task, question), answer)] for question, answer in rows]


def compare_adapters(checkpoint: str, work: Path, tools: Path) -> list[list[str]]:
    """A row for each adapter, the one of zeros among them, all used in one process of LiteRT-LM."""
    sys.path.insert(0, str(TESTS))
    from adapters import SMOLLM2, write_random_adapter

    exported = export("smollm2-135m-instruct", checkpoint, work, "--lora-rank", str(RANK))
    folder = exported.bundle.parent
    options, files = {"none": ()}, {"none": folder / "no-adapter.tflite"}
    for name, seed in (("first", 1), ("second", 2)):
        write_random_adapter(work / name, SMOLLM2, seed)
        files[name] = work / f"{name}.tflite"
        run([sys.executable, "-m", "edgegen", "adapter", work / name, folder, "-o", files[name]])
        options[name] = ("--adapter", str(work / name))
    order = ["none", "first", "second", "first", "none"]
    prompt = BEGINNINGS[0]
    script = [tools / "python", Path(__file__).with_name("bundles_adapters.py"), exported.bundle]
    said = run([*script, str(RANK), str(TOKENS), prompt, *(files[name] for name in order)]).stdout
    ours = {name: edgegen_says(exported, prompt, "--raw", *extra) for name, extra in options.items()}
    assert len(set(ours.values())) == len(ours), "adapters that change nothing prove nothing"
    texts = json.loads(said.splitlines()[-1])
    return [[f"adapter {n}", prompt, *_verdict(ours[n], text)] for n, text in zip(order, texts, strict=True)]


def _verdict(ours: str, theirs: str) -> tuple[str, str]:
    """Both stop somewhere: the shorter must be the beginning of the longer, and not too short."""
    ours, theirs = ours.strip(), theirs.strip()
    shorter, longer = sorted((ours, theirs), key=len)
    same = len(shorter) >= min(len(ours), TOKENS) and longer.startswith(shorter)
    return ("same", theirs) if same else ("DIFFERENT", f"{theirs!r} and ours {ours!r}")


def compare_templates(exported: Exported, tools: Path) -> list[list[str]]:
    """A row for each family: name, and how many conversations come to the same text."""
    sys.path.insert(0, str(TEMPLATES))
    from family_templates import TEMPLATES as FAMILIES

    from edgegen_bundles.chat.templates import CONVERSATIONS, adapt, render_original

    templates, expected = {}, {}
    for family, (source, bos_token, eos_token) in FAMILIES.items():
        tokens = {"bos_token": bos_token, "eos_token": eos_token}
        templates[family] = adapt(source, **tokens)
        expected[family] = [rendering.text or "" for rendering in render_original(source, **tokens)]
    request = json.dumps({"templates": templates, "conversations": CONVERSATIONS})
    command = [tools / "python", Path(__file__).with_name("bundles_render.py"), exported.bundle]
    done = subprocess.run(command, input=request, capture_output=True, text=True, check=True)
    rows = []
    for family, texts in json.loads(done.stdout).items():
        equal = sum(a == b for a, b in zip(texts, expected[family], strict=True))
        same = "same" if equal == len(texts) else "DIFFERENT"
        rows.append([family, "chat template", same, f"{equal} of {len(texts)} conversations"])
    return rows


def with_other_model(bundle: Path, model: Path, target: Path) -> Path:
    """The bundle with another graph and weights, and the same tokenizer and metadata."""
    from litert_lm_builder import litertlm_header_schema_py_generated as schema

    from edgegen_bundles.litertlm import container
    from edgegen_bundles.litertlm.inspect import contents, read

    sections = []
    for part in contents(bundle).parts[1:]:
        section_type = container.SectionType(getattr(schema.AnySectionDataType, part.name))
        is_model = section_type is container.SectionType.MODEL
        data = model if is_model else read(bundle, part.offset, part.offset + part.nbytes)
        labels = {"model_type": part.details["model_type"]} if is_model else {}
        sections.append(container.Section(type=section_type, contents=data, labels=labels))
    container.write(target, sections, {})
    return target


def speeds(tools: Path, bundle: Path, threads: int) -> dict[str, float]:
    """Tokens a second, as LiteRT-LM's benchmark prints them: 128 tokens in, 64 out, after a warm-up."""
    options = ("-p", "128", "-d", "64", "--max-num-tokens", "1280", "--cpu-thread-count", str(threads))
    printed = run([tools / "litert-lm", "benchmark", bundle, *options]).stdout
    return {name: float(re.findall(rf"(?i){name} speed:\s+([\d.]+)", printed)[0]) for name in SPEEDS}


def compare_speeds(ours: Path, reference: Path, tools: Path, rounds: int, threads: int) -> tuple[Any, list[list[str]]]:
    turns: dict[str, list[dict[str, float]]] = {"ours": [], "reference": []}
    for index in range(rounds):
        pair = [("ours", ours), ("reference", reference)]
        for name, bundle in pair if index % 2 == 0 else reversed(pair):  # neither is always the first
            note(f"round {index + 1} of {rounds}: {name}")
            turns[name].append(speeds(tools, bundle, threads))
    results, rows = {}, []
    for speed in SPEEDS:
        values = {name: [turn[speed] for turn in runs] for name, runs in turns.items()}
        medians = {name: median(runs) for name, runs in values.items()}
        ratio = medians["ours"] / medians["reference"]
        best = max(values["ours"]) / max(values["reference"])
        results[speed] = {"turns": values, "medians": medians, "ratio": ratio, "ratio_of_bests": best}
        cells = [f"{medians[name]:.1f} tok/s" for name in ("ours", "reference")]
        rows.append([speed, *cells, f"{ratio:.2f}", f"{best:.2f}"])
    return results, rows


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--smollm2", required=True, help="checkpoint of SmolLM2-135M-Instruct")
    parser.add_argument("--gemma3", help="checkpoint of Gemma 3 270M")
    parser.add_argument("--reference", type=Path, help="a .tflite file of SmolLM2; measures speed")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    tools = environment("litert-lm-env", LITERT_LM)
    with tempfile.TemporaryDirectory(dir=_work_folder()) as folder:
        if arguments.reference:
            return compare_with_reference(arguments, tools, Path(folder))
        return compare_with_edgegen_run(arguments, tools, Path(folder))


def compare_with_reference(arguments: argparse.Namespace, tools: Path, work: Path) -> int:
    ours = export("smollm2-135m-instruct", arguments.smollm2, work).bundle
    other = with_other_model(ours, arguments.reference, work / "reference.litertlm")
    results, rows = compare_speeds(ours, other, tools, arguments.rounds, arguments.threads)
    document = {"benchmark": "bundles", **machine(), "threads": arguments.threads, "results": results}
    report(document, ["median", "ours", "reference", "ratio", "of bests"], rows, as_json=arguments.json)
    return 0


def compare_with_edgegen_run(arguments: argparse.Namespace, tools: Path, work: Path) -> int:
    mediapipe = environment("mediapipe-env", MEDIAPIPE)
    models = [("smollm2-135m-instruct", arguments.smollm2, "Paris")]
    if arguments.gemma3:
        # Weights of the base model, which was not taught to answer, with the chat template of the one that was.
        models.append(("gemma3-270m-it", arguments.gemma3, ""))
    exports = [export(variant, checkpoint, work) for variant, checkpoint, _ in models]
    rows = []
    for exported, (variant, checkpoint, answer) in zip(exports, models, strict=True):
        rows += compare_texts(variant, exported, tools, answer)
        task = as_task(exported, variant, checkpoint, work)
        rows += compare_texts(f"{variant}, task", task, tools, answer)
        rows += compare_in_mediapipe(f"{variant}, task in MediaPipe", task, mediapipe)
    rows += compare_templates(exports[0], tools)
    rows += compare_adapters(arguments.smollm2, work / "adapters", tools)
    header = ["model", "prompt", "says the same", "text"]
    shown = [[*row[:3], " ".join(row[3].split())[:SHOWN]] for row in rows]
    report({"check": "bundles", "rows": rows}, header, shown, as_json=arguments.json)
    return 0 if all(row[2] == "same" for row in rows) else 1


def _work_folder() -> Path:
    folder = ROOT / "build" / "bench"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


if __name__ == "__main__":
    sys.exit(main())
