from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from edgegen.cli.output import Output
from edgegen.errors import EdgegenError, UsageError
from edgegen_runtime.cli.bench import bench
from edgegen_runtime.cli.chat import chat_loop
from edgegen_runtime.cli.run import run
from edgegen_runtime.conversation import Conversation
from edgegen_runtime.generation.config import GenerationConfig
from edgegen_runtime.generation.language_model import LanguageModel
from edgegen_runtime.generation.sampling import SamplingOptions

Export = Callable[..., Path]
pytestmark = pytest.mark.usefixtures("toy_session")


def invoke(command: Any, *arguments: object, stdin: str | bytes | None = None) -> Result:
    return CliRunner().invoke(command, [str(argument) for argument in arguments], input=stdin)


def failure(result: Result) -> EdgegenError:
    assert isinstance(result.exception, EdgegenError), result.output
    return result.exception


def test_text_goes_to_stdout_and_the_rest_to_stderr(export: Export) -> None:
    folder = export()
    plain = invoke(run, folder, "--prompt", "Hi", "--max-new-tokens", 5)
    document = json.loads(invoke(run, folder, "--prompt", "Hi", "--max-new-tokens", 5, "--json").stdout)
    assert plain.exit_code == 0
    assert plain.stdout == document["text"].removesuffix("\n") + "\n"
    assert "tokens/s" in plain.stderr
    assert "--max-new-tokens" in plain.stderr
    quiet = invoke(run, folder, "--prompt", "Hi", "--max-new-tokens", 5, "--quiet")
    assert quiet.stdout == plain.stdout
    assert quiet.stderr == ""


def test_json_holds_what_is_promised(export: Export) -> None:
    result = invoke(run, export(), "--prompt", "Hi", "--raw", "--json", "--ignore-eos", "--max-new-tokens", 7)
    document = json.loads(result.stdout)
    assert document["schema_version"] == 1
    assert len(document["token_ids"]) == 7
    assert document["finish_reason"] == "length"
    assert document["seed"] is None
    assert len(document["prompt_token_ids"]) >= 1
    assert {"load_seconds", "prefill_tokens_per_second", "decode_tokens_per_second"} <= set(document["timings"])


def test_the_template_is_used_if_there_is_one_and_not_with_raw(export: Export) -> None:
    folder = export()

    def prompt_ids(*arguments: str) -> list[int]:
        result = invoke(run, folder, "--prompt", "Hi", "--json", "--max-new-tokens", "1", *arguments)
        return list(json.loads(result.stdout)["prompt_token_ids"])

    raw = prompt_ids("--raw")
    assert prompt_ids() == prompt_ids("--chat") != raw
    assert len(prompt_ids("--system", "Be brief.")) > len(prompt_ids())
    folder = export("plain", chat_template=None)
    assert prompt_ids() == raw
    assert failure(invoke(run, folder, "--prompt", "Hi", "--chat")).code == "EG723"
    assert failure(invoke(run, folder, "--prompt", "Hi", "--system", "x")).code == "EG723"


def test_the_prompt_is_read_from_a_pipe(export: Export) -> None:
    folder = export()
    piped = invoke(run, folder, "--json", stdin="Größe?\n")
    given = invoke(run, folder, "--json", "--prompt", "Größe?")
    assert json.loads(piped.stdout)["token_ids"] == json.loads(given.stdout)["token_ids"]
    assert "not UTF-8" in failure(invoke(run, folder, stdin=b"\xff")).message


def test_a_seed_that_was_drawn_repeats_the_text(export: Export) -> None:
    folder = export()
    sampled = ("--prompt", "Hi", "--json", "--temperature", 1.0, "--top-k", 50, "--top-p", 0.9)
    first = json.loads(invoke(run, folder, *sampled).stdout)
    again = json.loads(invoke(run, folder, *sampled, "--seed", first["seed"]).stdout)
    assert again["token_ids"] == first["token_ids"]


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["--prompt", "word " * 200], "EG741"),
        (["--prompt", "", "--raw"], "EG742"),
        (["--prompt", "x", "--temperature", "-1"], "EG732"),
        (["--prompt", "x", "--top-p", "0"], "EG732"),
    ],
)
def test_bad_requests_are_usage_errors(export: Export, arguments: list[str], code: str) -> None:
    error = failure(invoke(run, export(), *arguments))
    assert isinstance(error, UsageError)
    assert error.code == code
    assert error.hint


def test_a_folder_that_is_no_export_is_a_usage_error(tmp_path: Path) -> None:
    for command in (run, bench):
        assert failure(invoke(command, tmp_path, *(["--prompt", "x"] if command is run else []))).code == "EG701"


def test_a_conversation_keeps_what_was_said(
    export: Export, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = LanguageModel.load(export(chat_template="chat_template.jinja"))
    asked: list[list[Any]] = []
    render = LanguageModel.render

    def spy(self: LanguageModel, messages: list[Any]) -> str:
        if messages[-1]["content"]:  # an empty question measures the system message
            asked.append(list(messages))
        return render(self, messages)

    monkeypatch.setattr(LanguageModel, "render", spy)
    lines = iter(["a", "b", "c", "d", "e", "f"])

    def read_line(prompt: str) -> str:
        try:
            return next(lines)
        except StopIteration:
            raise EOFError from None

    conversation = Conversation(model, system="s")
    config: GenerationConfig = {"max_new_tokens": 4, "ignore_eos": True}
    chat_loop(conversation, SamplingOptions(), config, Output(), read_line=read_line)
    assert [message["role"] for message in asked[1]] == ["system", "user", "assistant", "user"]
    # When the cache is full, the conversation starts anew rather than failing; the system message stays.
    assert any(len(messages) == 2 for messages in asked[2:])
    assert "starts anew" in capsys.readouterr().err


def test_a_question_that_made_the_cache_overflow_is_asked_again(export: Export) -> None:
    model = LanguageModel.load(export())
    lines = iter(["a", "b", "c", "d", "e", "word " * 100, ""])
    chat_loop(
        Conversation(model),
        SamplingOptions(),
        {"max_new_tokens": 4, "ignore_eos": True},
        Output(),
        read_line=lambda _: next(lines),
    )


def test_bench_prints_medians(export: Export) -> None:
    arguments = (export(), "--prompt-tokens", 20, "--decode-tokens", 5, "--runs", 3, "--threads", 1)
    document = json.loads(invoke(bench, *arguments, "--json").stdout)
    assert document["runs"] == 3
    assert document["threads"] == 1
    rate = document["decode_tokens_per_second"]
    assert 0 < rate["low"] <= rate["median"] <= rate["high"]
    assert document["peak_memory_bytes"] > 10_000_000
    assert document["load_seconds"] > 0
    text = invoke(bench, *arguments).stdout
    assert "prefill 20" in text
    assert "tokens/s" in text
    assert "peak memory" in text


def test_bench_refuses_more_tokens_than_the_cache_holds(export: Export) -> None:
    assert failure(invoke(bench, export())).code == "EG741"


def test_the_answer_has_the_form_that_was_asked_for(export: Export, tmp_path: Path) -> None:
    pytest.importorskip("llguidance")
    folder = export()

    def text(*arguments: object) -> str:
        return str(json.loads(invoke(run, folder, "--prompt", "Hi", "--raw", "--json", *arguments).stdout)["text"])

    schema = {"type": "object", "properties": {"ok": {"type": "boolean"}}, "required": ["ok"],
              "additionalProperties": False}  # fmt: skip
    (tmp_path / "schema.json").write_text(json.dumps(schema))
    assert set(json.loads(text("--json-schema", json.dumps(schema)))) == {"ok"}
    assert set(json.loads(text("--json-schema", tmp_path / "schema.json"))) == {"ok"}
    assert text("--regex", "(left|right)") in ("left", "right")
    assert text("--grammar", 'start: "a" "b"') == "ab"
    error = failure(invoke(run, folder, "--prompt", "Hi", "--regex", "a", "--grammar", "b"))
    assert "--regex and --grammar exclude each other" in error.message
    assert failure(invoke(run, folder, "--prompt", "Hi", "--json-schema", "missing.json")).code == "EG101"


def test_options_of_generation_reach_the_model(export: Export) -> None:
    folder = export()
    plain = json.loads(invoke(run, folder, "--prompt", "Hi", "--json", "--ignore-eos").stdout)
    stop = plain["text"][10:13]
    stopped = json.loads(invoke(run, folder, "--prompt", "Hi", "--json", "--ignore-eos", "--stop", stop).stdout)
    assert stopped["text"] == plain["text"][: plain["text"].index(stop)]
    assert stopped["finish_reason"] == "stop"
    for option, reward in (("--repetition-penalty", 0.001), ("--presence-penalty", -99), ("--frequency-penalty", -99)):
        changed = invoke(run, folder, "--prompt", "Hi", "--json", "--ignore-eos", option, reward)
        assert len(set(json.loads(changed.stdout)["token_ids"])) < 15
    long = ("--prompt", "Hi", "--json", "--ignore-eos", "--max-new-tokens", 100)
    assert json.loads(invoke(run, folder, *long, "--context-shift").stdout)["timings"]["dropped_tokens"] > 0
    assert failure(invoke(run, folder, "--prompt", "Hi", "--speculate", "prompt-lookup")).code == "EG761"


def test_a_prefix_cache_file_spares_the_next_run_the_reading(export: Export, tmp_path: Path) -> None:
    folder = export()
    cached = ("--prompt", "How are you today?", "--raw", "--json", "--prefix-cache", tmp_path / "read.kv")
    first, second = (json.loads(invoke(run, folder, *cached).stdout) for _ in range(2))
    assert first["timings"]["prefill_tokens"] > 0 == second["timings"]["prefill_tokens"]
    assert first["token_ids"] == second["token_ids"]


def test_bench_compares_when_asked(export: Export, toy_session: type[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    def with_verify(*arguments: Any, **settings: Any) -> Any:
        return toy_session(*arguments, **settings, verify=(4,), cache_length=1024)

    monkeypatch.setattr("edgegen_runtime.generation.language_model.Session", with_verify)
    folder = export(cache_length=1024)
    arguments = (folder, "--prompt-tokens", 40, "--decode-tokens", 9, "--runs", 1)
    asked = (*arguments, "--speculate", "prompt-lookup", "--prefix", "--reload")
    ratios = json.loads(invoke(bench, *asked, "--json").stdout)["speed_ups"]
    assert set(ratios) == {"speculation", "prefix", "reload"}
    for row in ratios.values():
        assert row["identical"]
        assert row["ratio"] == pytest.approx(row["plain_seconds"] / row["seconds"])
    assert json.loads(invoke(bench, *arguments, "--json").stdout)["speed_ups"] == {}
    assert "times faster" in invoke(bench, *asked).stdout


def test_a_bias_forbids_and_demands_tokens(export: Export) -> None:
    folder = export()

    def token_ids(*arguments: str) -> list[int]:
        result = invoke(run, folder, "--prompt", "Hi", "--json", "--max-new-tokens", 3, "--ignore-eos", *arguments)
        return list(json.loads(result.stdout)["token_ids"])

    first = token_ids()[0]
    assert token_ids("--logit-bias", f"{first}=-inf")[0] != first
    assert token_ids("--logit-bias", "7=1000") == [7, 7, 7]
    assert "of the form" in invoke(run, folder, "--prompt", "Hi", "--logit-bias", "seven").output


def test_a_prefix_cache_file_that_cannot_be_made_is_refused_first(export: Export, tmp_path: Path) -> None:
    result = invoke(run, export(), "--prompt", "Hi", "--prefix-cache", tmp_path / "nowhere" / "file")
    assert failure(result).code == "EG101"
    assert result.stdout == ""
