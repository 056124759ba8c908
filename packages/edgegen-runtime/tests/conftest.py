"""Tiny tokenizers, an exported folder, and a toy model that shows any mistake in the use of its cache."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgegen.litert.session import SignatureInfo, TensorInfo
from edgegen_runtime.bundle import ExportedModel
from edgegen_runtime.generation.language_model import LanguageModel
from edgegen_runtime.text.tokenizer import open_tokenizer

CORPUS = [
    "The quick brown fox jumps over the lazy dog. The dog sleeps.",
    "How are you today? I am well, thank you, and you are well too.",
    "Größe, naïve café, Ünïcödé; λόγος και φύσις; Привет, мир!",
    "你好、世界。こんにちは世界。안녕하세요 세계. 😀 😃 👩‍👩‍👧 🇫🇷",
    "def f(x):\n    return x ** 2  # square\n\n\tindent",
] * 4

SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]

TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def _byte_level(path: Path) -> None:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=SPECIAL,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    # A post-processor that adds a BOS of its own, and settings left over from training: neither may matter.
    bos = SPECIAL[0]
    tokenizer.post_processor = processors.TemplateProcessing(single=f"{bos} $A", special_tokens=[(bos, 0)])
    tokenizer.enable_truncation(4)
    tokenizer.enable_padding(length=64)
    tokenizer.save(str(path))


def _llama_like(path: Path) -> None:
    from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, trainers

    pieces = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>"))
    tokenizer.normalizer = normalizers.Replace(" ", "▁")
    ascii_only = [text.encode("ascii", "ignore").decode() for text in CORPUS]
    tokenizer.train_from_iterator(
        ascii_only, trainers.BpeTrainer(vocab_size=500, special_tokens=pieces, show_progress=False)
    )
    trained = json.loads(tokenizer.to_str())["model"]
    merges = [tuple(merge) for merge in trained["merges"]]
    tokenizer = Tokenizer(models.BPE(trained["vocab"], merges, unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    tokenizer.add_special_tokens([AddedToken(name, special=True, normalized=False) for name in ("<s>", "</s>")])
    tokenizer.save(str(path))


def _metaspace(path: Path) -> None:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    tokenizer.train_from_iterator(
        CORPUS, trainers.BpeTrainer(vocab_size=300, special_tokens=["<s>", "</s>"], show_progress=False)
    )
    tokenizer.save(str(path))


def _sentencepiece(path: Path, **settings: Any) -> None:
    import io

    import sentencepiece

    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(CORPUS),
        model_writer=model,
        vocab_size=520,
        hard_vocab_limit=False,
        model_type="bpe",
        byte_fallback=True,
        user_defined_symbols=["<start_of_turn>"],
        control_symbols=["<pad_a>"],
        minloglevel=2,
        **settings,
    )
    path.write_bytes(model.getvalue())


_KEEP = {"normalization_rule_name": "identity"}

TOKENIZERS: dict[str, tuple[str, Callable[[Path], None]]] = {
    "byte-level": ("tokenizer.json", _byte_level),
    "llama-like": ("tokenizer.json", _llama_like),
    "metaspace": ("tokenizer.json", _metaspace),
    # Llama: a space put in front; Gemma: text as it is; the library's own default: extra spaces removed.
    "sp-llama": ("tokenizer.model", lambda p: _sentencepiece(p, remove_extra_whitespaces=False, **_KEEP)),
    "sp-gemma": (
        "tokenizer.model",
        lambda p: _sentencepiece(p, remove_extra_whitespaces=False, add_dummy_prefix=False, **_KEEP),
    ),
    "sp-default": ("tokenizer.model", _sentencepiece),
}


@pytest.fixture(scope="session")
def tokenizer_files(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Path]:
    """Tokenizer files by the names of :data:`TOKENIZERS`."""
    folder = tmp_path_factory.mktemp("tokenizers")
    files = {}
    for name, (file_name, build) in TOKENIZERS.items():
        files[name] = folder / name / file_name
        files[name].parent.mkdir()
        build(files[name])
    return files


@pytest.fixture(params=list(TOKENIZERS))
def tokenizer_file(request: pytest.FixtureRequest, tokenizer_files: Mapping[str, Path]) -> Path:
    return tokenizer_files[request.param]


class ToyState:
    """Cache of :class:`ToySession`; starts full of garbage, as a reused cache is."""

    def __init__(self, cache_length: int) -> None:
        self.rows = np.random.default_rng(0).integers(0, 1 << 20, cache_length)
        self.noisy = np.zeros(cache_length, bool)
        self.infos = {"kv_cache_k_0": TensorInfo((1, 1, cache_length, 1), "int64")}

    def copy_from(self, smaller: ToyState) -> None:
        self.rows[: len(smaller.rows)] = smaller.rows
        self.noisy[: len(smaller.noisy)] = smaller.noisy

    def read(self, name: str) -> Any:
        return self.rows.reshape(self.infos[name].shape).copy()

    def write(self, name: str, contents: Any) -> None:
        self.rows[:] = contents.reshape(-1)


class ToySession:
    """A language model of integers behind the interface of :class:`edgegen.litert.session.Session`.

    Each row of the cache is a hash of its token, its position and all rows before it, so one wrong row spoils
    everything after it. Writing to the cache moves a start that is too late back, as DYNAMIC_UPDATE_SLICE
    does.
    """

    def __init__(
        self,
        path: Any = None,
        *,
        threads: int | None = None,
        weight_cache: Any = None,
        cache_length: int = 64,
        lengths: tuple[int, ...] = (4, 16),
        vocab_size: int = 400,
        cache_buckets: tuple[int, ...] = (),
        verify: tuple[int, ...] = (),
        noise: float = 0.0,
        peaked: bool = False,
    ) -> None:
        self.vocab_size = vocab_size
        self.noise = noise
        self.peaked = peaked
        self.calls: list[tuple[str, int]] = []
        self.signatures: dict[str, SignatureInfo] = {}
        for prefix, slots in [("", cache_length), *((f"cache_{slots}_", slots) for slots in cache_buckets)]:
            cache = {"kv_cache_k_0": TensorInfo((1, 1, slots, 1), "int64")}
            for length in (length for length in lengths if length <= slots):
                self.signatures[f"{prefix}prefill_{length}"] = SignatureInfo(
                    {
                        "tokens": TensorInfo((1, length), "int32"),
                        "input_pos": TensorInfo((length,), "int32"),
                        **cache,
                    },
                    cache,
                )
            for length in (length for length in verify if length <= slots):
                self.signatures[f"{prefix}verify_{length}"] = SignatureInfo(
                    {
                        "tokens": TensorInfo((1, length), "int32"),
                        "input_pos": TensorInfo((length,), "int32"),
                        **cache,
                    },
                    {**cache, "logits": TensorInfo((1, length, vocab_size), "float32")},
                )
            self.signatures[f"{prefix}decode"] = SignatureInfo(
                {"tokens": TensorInfo((1, 1), "int32"), "input_pos": TensorInfo((1,), "int32"), **cache},
                {**cache, "logits": TensorInfo((1, 1, vocab_size), "float32")},
            )
        # Names that the runtime does not know must not disturb it.
        self.signatures["encode_4"] = self.signatures["decode"]
        self.signatures["prefill_image_4"] = SignatureInfo({"pixels": TensorInfo((1, 4), "float32")}, cache)

    def set_static_inputs(self, signature: str, inputs: Mapping[str, Any]) -> Mapping[str, Any]:
        assert inputs.keys() <= self.signatures[signature].inputs.keys()
        return inputs

    def new_state(self, signatures: Collection[str], static_inputs: Mapping[str, Any]) -> ToyState:
        (shape,) = {self.signatures[name].inputs["kv_cache_k_0"].shape for name in signatures}
        return ToyState(shape[2])

    def run(self, signature: str, inputs: Mapping[str, Any], state: ToyState) -> dict[str, Any]:
        tokens, positions = inputs["tokens"], inputs["input_pos"]
        info = self.signatures[signature]
        assert tokens.shape == info.inputs["tokens"].shape
        assert positions.shape == info.inputs["input_pos"].shape
        assert tokens.dtype == positions.dtype == np.int32
        assert (np.diff(positions) == 1).all()
        self.calls.append((signature, int(positions[0])))
        assert info.inputs["kv_cache_k_0"].shape[2] == len(state.rows)
        start = min(int(positions[0]), len(state.rows) - len(positions))
        for offset, (token, position) in enumerate(zip(tokens[0], positions, strict=True)):
            before = state.rows[: int(position)]
            weights = np.arange(1, len(before) + 1)
            mixed = int((before * weights).sum()) * 31 + int(token) * 1009 + int(position) * 7
            state.rows[start + offset] = mixed % (1 << 20)
        if "logits" not in info.outputs:
            return {}
        logits = np.stack([self._logits(int(state.rows[int(position)]), int(position)) for position in positions])
        if "verify" in signature and self.noise:
            # Another kernel rounds differently; and so do the rows of the cache that it leaves behind.
            state.noisy[positions] = True
        if "decode" in signature:
            state.noisy[positions] = state.noisy[: int(positions[0])].any()
        if state.noisy[positions].any():
            # The error stands still near half the bound, so that close calls go wrong every time.
            signs = np.where(np.arange(self.vocab_size) % 2, 1, -1)
            logits = logits + signs.astype(np.float32) * np.float32(self.noise)
        return {"logits": logits[None]}

    def _logits(self, row: int, position: int) -> Any:
        """Peaked: the likeliest token depends on the last few positions only, so that texts go in circles."""
        seed = position % 7 if self.peaked else row
        logits = np.random.default_rng(seed).normal(size=self.vocab_size).astype(np.float32) * 3
        if self.noise:  # close calls, now and then
            logits = np.round(logits * 2) / 2 + (np.arange(self.vocab_size) % 5).astype(np.float32) * self.noise / 4
        return logits


@pytest.fixture
def export(tmp_path: Path, tokenizer_files: Mapping[str, Path]) -> Callable[..., Path]:
    """Writes a folder as ``edgegen export`` does; keyword arguments overwrite fields of the manifest."""

    def write(folder: str = "toy", **fields: Any) -> Path:
        target = tmp_path / folder
        target.mkdir()
        manifest = {
            "schema_version": 2,
            "task": "text-generation",
            "name": "toy-1m",
            "family": "toy",
            "model": "model.tflite",
            "scheme": "int8-channel",
            "cache_length": 64,
            "prefill_lengths": [4, 16],
            "context_length": 128,
            "parameters": 1000,
            "tokenizer": {"file": "tokenizer.json", "bos_token_id": 0, "add_bos": False},
            "stop_token_ids": [2],
            "chat_template": "chat_template.jinja",
            **fields,
        }
        (target / "manifest.json").write_text(json.dumps(manifest))
        (target / "model.tflite").write_bytes(b"toy")
        (target / "tokenizer.json").write_bytes(tokenizer_files["byte-level"].read_bytes())
        (target / "chat_template.jinja").write_text(TEMPLATE)
        return target

    return write


@pytest.fixture
def load_toy(export: Callable[..., Path]) -> Callable[..., LanguageModel]:
    """A :class:`LanguageModel` on a :class:`ToySession`; keyword arguments go to the session."""
    counter = iter(range(1000))

    def load(cache_length: int = 64, **settings: Any) -> LanguageModel:
        from edgegen_runtime.text.chat_template import ChatTemplate

        exported = ExportedModel.open(export(f"toy-{next(counter)}", cache_length=cache_length))
        assert exported.tokenizer is not None
        session: Any = ToySession(cache_length=cache_length, **settings)
        return LanguageModel(session, exported, open_tokenizer(exported.tokenizer.file), ChatTemplate(TEMPLATE))

    return load


@pytest.fixture
def toy_session(monkeypatch: pytest.MonkeyPatch) -> type[ToySession]:
    """Make :meth:`LanguageModel.load` load the toy."""
    monkeypatch.setattr("edgegen_runtime.generation.language_model.Session", ToySession)
    return ToySession
