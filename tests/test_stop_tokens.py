"""A fine-tune stops at the token by which its chat template ends turns, whatever its base model ended texts with."""

from __future__ import annotations

import pytest
from scripted_model import write_scripted_model
from tokenizer_folders import byte_level_json, llama_chatml, read, settings, write

from edgegen_bundles.litertlm.inspect import llm_metadata
from edgegen_bundles.mediapipe.task_reader import read_task
from edgegen_huggingface.repository_files import read_config, read_tokenizer

TEMPLATE = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
PADDED = 640
OPTIONS = ("--scheme", "fp32", "--prefill-lengths", "16", "--cache-length", 128, "--no-verify")


def sentencepiece_base(folder):
    """Llama's pieces, ``</s>`` at the end of texts, ChatML's tokens added by the fine-tune."""
    llama_chatml(folder)
    (folder / "special_tokens_map.json").unlink()
    settings(folder, "llama", tokenizer_class="LlamaTokenizer", eos_token="</s>", chat_template=TEMPLATE, legacy=False)
    return "</s>"


def byte_level_base(folder):
    byte_level_json(folder)
    settings(
        folder, "llama", tokenizer_class="PreTrainedTokenizerFast", eos_token="<|endoftext|>", chat_template=TEMPLATE,
    )  # fmt: skip
    return "<|endoftext|>"


@pytest.fixture(params=["nothing", "the base's end"])
def stated(request):
    """End tokens stated in ``generation_config.json``."""
    return request.param


@pytest.fixture(params=[sentencepiece_base, byte_level_base], ids=lambda make: make.__name__)
def checkpoint(request, stated, tmp_path):
    """The folder, the id of ``<|im_end|>`` and that of the base's end of texts; the model answers "ab"."""
    folder = tmp_path / "checkpoint"
    folder.mkdir()
    base = request.param(folder)
    assets = read_tokenizer(folder, read_config(folder))
    (tmp_path / "tokenizer.json").write_bytes(assets.files["tokenizer.json"])
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    opening = tokenizer.encode("<|im_start|>assistant\n", add_special_tokens=False).ids[-1]
    a, b, end, base_end = (tokenizer.token_to_id(text) for text in ("a", "b", "<|im_end|>", base))
    write_scripted_model(folder, {opening: a, a: b, b: end, end: a}, PADDED, eos_token_id=base_end, bos_token_id=None)
    if stated != "nothing":
        write(folder / "generation_config.json", {"eos_token_id": base_end})
    return folder, end, base_end


@pytest.fixture
def export(edgegen, checkpoint, tmp_path):
    def run(target):
        result = edgegen("export", "llama", "--checkpoint", checkpoint[0], "-o", tmp_path / target, *OPTIONS,
                         "--target", target)  # fmt: skip
        assert result.code == 0, result.err
        return tmp_path / target

    return run


def test_run_and_the_server_stop_there(edgegen, export, checkpoint):
    from starlette.testclient import TestClient

    import edgegen_runtime
    from edgegen_serve import create_app

    _, end, base_end = checkpoint
    folder = export("tflite")
    assert {end, base_end} <= set(read(folder / "manifest.json")["stop_token_ids"])
    answer = edgegen("run", folder, "--prompt", "Hi", "--max-new-tokens", 8, "--json").json
    assert (answer["text"], answer["finish_reason"]) == ("ab", "stop")
    assert answer["token_ids"][-1:] != [base_end]
    on = edgegen("run", folder, "--prompt", "Hi", "--max-new-tokens", 8, "--ignore-eos", "--json").json
    assert on["text"].replace("<|im_end|>", "") == "ababab"  # it would go on for ever
    app = create_app(edgegen_runtime.load(folder, threads=1))
    with TestClient(app, base_url="http://127.0.0.1") as client:
        name = client.get("/v1/models").json()["data"][0]["id"]
        body = {"model": name, "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 8, "temperature": 0}
        [choice] = client.post("/v1/chat/completions", json=body).json()["choices"]
    assert (choice["message"]["content"], choice["finish_reason"]) == ("ab", "stop")


def test_bundles_name_it_among_their_stop_tokens(export, checkpoint):
    _, end, base_end = checkpoint
    [file] = export("litertlm").glob("*.litertlm")
    stops = [list(stop.token_ids.ids) for stop in llm_metadata(file).stop_tokens]
    assert [end] in stops
    assert [base_end] in stops
    [file] = export("task").glob("*.task")
    stops = [list(stop.token_ids.ids) for stop in read_task(file).metadata.stop_tokens]
    assert [end] in stops
    assert [base_end] in stops
