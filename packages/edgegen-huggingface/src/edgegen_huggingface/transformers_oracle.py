"""The oracle ``transformers``: the published modelling code of a checkpoint's model, in float32, on the CPU.

Code from a checkpoint never runs (``trust_remote_code`` stays off). Where the weights do not fit into memory as
float32, the library accelerate streams them from disk, layer by layer.
"""

from __future__ import annotations

import contextlib
import io
import tempfile
from collections.abc import Iterator, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgegen.errors import ErrorCode, UnsupportedError
from edgegen.weights import Checkpoint, TokenizerAssets

Array = npt.NDArray[Any]

TEXT = (
    "Name three uses of a lighthouse, and say in one sentence why ships need them. Then work out 12 + 30 * 2, write "
    "'Straße' and '灯台' backwards, and end with a line of Python: print('done')."
)

_CLASSES = {
    "text-generation": "AutoModelForCausalLM",
    "feature-extraction": "AutoModel",
    "text2text-generation": "AutoModelForSeq2SeqLM",
}
_SHARE = 0.6
"""Share of the free memory that weights may take."""


class TransformersModel:
    """A checkpoint's model in transformers; fulfils :class:`edgegen.export.oracle.OracleModel`."""

    def __init__(self, model: Any, task: str, tokens: list[int], tokenizer: str, scratch: Any) -> None:
        self.name = f"transformers {metadata.version('transformers')}"
        self.tokens, self.tokenizer = tokens, tokenizer
        self._model, self._task, self._scratch = model, task, scratch

    def run(self, inputs: Mapping[str, list[int]]) -> Mapping[str, Array]:
        import torch

        ids = torch.tensor([inputs["tokens"]])
        with torch.no_grad(), torch.device("cpu"):
            if self._task == "feature-extraction":
                return {"token_vectors": self._model(ids, attention_mask=torch.ones_like(ids))[0][0].numpy()}
            if self._task == "text2text-generation":
                answer = torch.tensor([inputs["answer"]])
                return {"logits": self._model(ids, decoder_input_ids=answer).logits[0].numpy()}
            return {"logits": self._model(ids, use_cache=False).logits[0].numpy()}


def open_model(
    checkpoint: Checkpoint, task: str, tokenizer: TokenizerAssets | None, lora: Path | None, *, asked: bool
) -> TransformersModel:
    """The checkpoint's model as transformers reads it.

    Raises:
        UnsupportedError: transformers is not installed or does not know the model, it does not fit here, or it is a
            GGUF, which transformers reads slowly, and nobody asked.
    """
    if checkpoint.naming == "gguf" and not asked:
        raise _unavailable("transformers takes long to read GGUF files", "--verify-against transformers")
    try:
        import torch
        import transformers
    except ImportError as error:
        raise _unavailable("transformers is not installed", "pip install transformers") from error
    weights = [file for file in checkpoint.files if file.suffix in (".safetensors", ".bin", ".gguf")]
    if not weights:
        raise _unavailable(f"transformers does not read {checkpoint.format} checkpoints")
    folder = weights[0].parent
    source: dict[str, Any] = {"gguf_file": weights[0].name} if weights[0].suffix == ".gguf" else {}
    if not source and not (folder / "config.json").is_file():
        raise _unavailable(f"{folder} has no config.json, which says what model it is")
    if len(weights) > 1 and source:
        raise _unavailable("transformers reads GGUF models of one file only")
    scratch = tempfile.TemporaryDirectory(prefix="edgegen-oracle-")
    with _quiet(transformers):
        try:
            config = transformers.AutoConfig.from_pretrained(folder, trust_remote_code=False, **source)
            model, found = getattr(transformers, _CLASSES[task]).from_pretrained(
                folder,
                config=config,
                dtype=torch.float32,
                attn_implementation="eager",
                trust_remote_code=False,
                output_loading_info=True,
                local_files_only=True,
                **source,
                **_placement(checkpoint, scratch.name),
            )
        except (UnsupportedError, MemoryError):
            raise
        except Exception as error:  # whatever it raises for a model that it does not know
            raise _unavailable(f"transformers cannot open it: {str(error).splitlines()[0][:200]}") from error
        missing = sorted(found["missing_keys"]) if task != "feature-extraction" else []
        if missing:
            raise _unavailable(f"transformers finds no weights for {len(missing)} parameters, such as {missing[0]}")
        if lora is not None:
            model = _adapted(model, lora)
        tokens, difference = _text(transformers, folder, source, config, tokenizer)
    return TransformersModel(model.eval(), task, tokens, difference, scratch)


def _unavailable(reason: str, hint: str | None = None) -> UnsupportedError:
    return UnsupportedError(reason, code=ErrorCode.ORACLE_UNAVAILABLE, hint=hint or "--verify-against none")


def _placement(checkpoint: Checkpoint, scratch: str) -> dict[str, Any]:
    """Arguments under which weights that do not fit into memory are read from disk as they are needed."""
    import psutil

    needed = 4 * sum(int(np.prod(tensor.shape)) for tensor in checkpoint.tensors.values())
    free = int(psutil.virtual_memory().available * _SHARE)
    if needed <= free:
        return {}
    try:
        metadata.version("accelerate")
    except metadata.PackageNotFoundError as error:
        raise _unavailable(
            f"{needed / 1e9:.1f} GB of float32 weights do not fit into memory",
            "pip install accelerate, which streams them from disk",
        ) from error
    return {"device_map": "auto", "max_memory": {"cpu": free}, "offload_folder": scratch}


def _adapted(model: Any, lora: Path) -> Any:
    try:
        from peft import PeftModel
    except ImportError as error:
        raise _unavailable("peft is not installed, which merges the adapter", "pip install peft") from error
    return PeftModel.from_pretrained(model, lora).merge_and_unload()


def _text(
    transformers: Any, folder: Path, source: Mapping[str, Any], config: Any, exported: TokenizerAssets | None
) -> tuple[list[int], str]:
    """Ids of a text, and how those of the exported tokenizer differ; random ids where there is no tokenizer."""
    size = int(config.get_text_config().vocab_size)
    try:
        if source:  # its own conversion of GGUF's tokenizers takes long, and is no reference
            return _exported_ids(exported, TEXT) or _random_ids(size), ""
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
        text = TEXT
        if tokenizer.chat_template:
            turns = [{"role": "user", "content": TEXT}]
            text = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
        tokens = [int(token) for token in tokenizer(text, add_special_tokens=False).input_ids]
    except Exception:  # whatever it raises for a tokenizer that it does not know
        tokens = []
    if not tokens or max(tokens) >= size:
        return _random_ids(size), ""
    return tokens, _difference(tokens, _exported_ids(exported, text))


def _random_ids(size: int) -> list[int]:
    ids: list[int] = np.random.default_rng(0).integers(0, size, 64).tolist()
    return ids


def _exported_ids(exported: TokenizerAssets | None, text: str) -> list[int]:
    """Ids by the exported ``tokenizer.json``; none where there is none."""
    if exported is None or "tokenizer.json" not in exported.files:
        return []
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_buffer(exported.files["tokenizer.json"])
    tokenizer.no_truncation()  # which some files ask for, and padding: no part of what a text's ids are
    tokenizer.no_padding()
    ids: list[int] = tokenizer.encode(text, add_special_tokens=False).ids
    return ids


def _difference(expected: list[int], got: list[int]) -> str:
    if not got or got == expected:
        return ""
    pairs = enumerate(zip(got, expected, strict=False))
    first = next((i for i, (one, other) in pairs if one != other), min(len(got), len(expected)))
    return f"{len(got)} ids where transformers has {len(expected)}; the first that differs is number {first}"


@contextlib.contextmanager
def _quiet(transformers: Any) -> Iterator[None]:
    """A block in which transformers and accelerate print neither warnings nor progress."""
    import logging
    import warnings

    log = transformers.utils.logging
    level, bars = log.get_verbosity(), log.is_progress_bar_enabled()
    log.set_verbosity(logging.CRITICAL)
    log.disable_progress_bar()
    try:
        # A progress bar of its own asks nobody.
        with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        log.set_verbosity(level)
        if bars:
            log.enable_progress_bar()
