"""The shell of the command line: what it imports, what it prints, and the code that it ends with."""

from __future__ import annotations

import io
import json
import os
import pty
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import edgegen
from edgegen.cli import main
from edgegen.cli.output import Output, format_bytes, format_count
from edgegen.testing.plugins import environment, installed, make_distribution

ACME = """
import click
from edgegen import hookimpl
from edgegen.cli.output import output_options
from edgegen.descriptors import Command, ErrorHint, ModelFamily, Variant
from edgegen.errors import CheckpointError, PluginError, UsageError

NAMES = "broken fails misused crashes lacks full denied memory interrupted exits three stages lines".split()
ROW = {"parameters": 1_100_048_384, "context_length": 2048, "source": "acme/x", "license": "mit"}

@hookimpl
def edgegen_commands():
    for name in NAMES:
        yield Command(name=name, summary=f"It {name}", command=f"edgegen_acme:{name}")
    yield Command(name="nowhere", summary="Missing", command="edgegen_acme:nowhere")
    yield Command(name="no-command", summary="Not a command", command="edgegen_acme:CheckpointError")

@hookimpl
def edgegen_error_hints():
    yield ErrorHint(name="fine", hint="edgegen_acme:fine")
    yield ErrorHint(name="sick", hint="edgegen_acme:sick")
    yield ErrorHint(name="lost", hint="edgegen_acme:lost")

@hookimpl
def edgegen_model_families():
    row = Variant(name="acme-1.1b", **ROW)
    yield ModelFamily(name="acme", summary="", variants=(row,), config="a:b", builder="a:b")

def fine(error):
    return "ask acme" if isinstance(error, CheckpointError) else None

def sick(error):
    raise SystemExit(9)

def command(function):
    return click.command()(output_options(function))

@command
def fails(output):
    details = ("missing   a.weight",)
    raise CheckpointError("checkpoint does not match", code="EG204", details=details, hint="use b")

@command
def misused(output):
    raise UsageError("there is no such thing")

@command
def broken(output):
    raise PluginError("layer a=b of edgegen-other 1.0 is none")

@command
def crashes(output):
    raise ZeroDivisionError("by zero")

@command
def lacks(output):
    import not_there.at_all

@command
def full(output):
    raise OSError(28, "No space left on device", "/x/model.tflite")

@command
def denied(output):
    raise PermissionError(13, "Permission denied", "/root/x")

@command
def memory(output):
    raise MemoryError

@command
def interrupted(output):
    raise KeyboardInterrupt

@command
def exits(output):
    raise SystemExit("the end")

@command
def three(output):
    return 3

@command
def stages(output):
    with output.stage("weights", 2_000_000) as stage:
        stage.advance(2_000_000)
        stage.detail("blocks.1")
        output.note("by the [way]")
    output.warn("careful")
    output.result({"done": True}, lambda console: console.print("done"))

@command
def lines(output):
    for number in range(100_000):
        output.write(f"{number}\\n")
"""


@pytest.fixture
def acme(tmp_path: Path) -> Path:
    make_distribution(tmp_path, "edgegen-acme", ACME)
    return tmp_path


def run(folder: Path, *args: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "edgegen", *args],
        env=environment(folder, alone=True, **variables),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def call(folder: Path, *args: str) -> int:
    """The same within this process, which is faster."""
    with installed(folder, alone=True):
        return main(args)


@pytest.mark.parametrize("args", [["--help"], ["--version"], ["list-models"], ["list-models", "--json"]])
def test_listing_and_help_import_no_heavy_library(args: list[str], tmp_path: Path) -> None:
    program = (
        "import sys; from edgegen.cli import main; code = main(sys.argv[1:])\n"
        "heavy = {'torch', 'ai_edge_litert', 'numpy'} & set(sys.modules)\n"
        "sys.exit(f'imported {heavy}' if heavy else code)"
    )
    out = subprocess.run(
        [sys.executable, "-c", program, *args],
        env=environment(tmp_path, alone=True),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (out.returncode, out.stderr) == (0, "")


def test_importing_edgegen_imports_no_heavy_library() -> None:
    program = "import sys, edgegen; print(sorted({'torch', 'numpy', 'rich', 'click'} & set(sys.modules)))"
    out = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert out.stdout == "[]\n"


def test_the_public_door_lists_its_lazy_names() -> None:
    assert {"convert", "signature", "composite", "hookimpl"} <= set(dir(edgegen))
    with pytest.raises(AttributeError, match="no_such_name"):
        edgegen.no_such_name  # noqa: B018


def test_without_arguments_the_help_is_shown(acme: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(acme) == 0
    assert "list-models   List the models that can be exported" in capsys.readouterr().out


def test_help_shows_a_command_that_cannot_be_imported(acme: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(acme, "--help") == 0
    assert "nowhere" in capsys.readouterr().out


def test_list_models_says_what_there_is(acme: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(acme, "list-models") == 0
    row = capsys.readouterr().out.splitlines()[1].split()
    assert row == ["acme-1.1b", "acme", "1.1", "B", "2048", "int8-channel", "mit", "edgegen-acme", "1.0"]


def test_list_models_as_json(acme: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(acme, "list-models", "--json") == 0
    document = json.loads(capsys.readouterr().out)
    assert document["schema_version"] == 1
    assert document["broken"] == []
    assert document["models"] == [
        {
            "name": "acme-1.1b",
            "family": "acme",
            "task": "text-generation",
            "parameters": 1_100_048_384,
            "context_length": 2048,
            "scheme": "int8-channel",
            "license": "mit",
            "source": "acme/x",
            "package": "edgegen-acme",
            "version": "1.0",
        }
    ]


def test_list_models_without_families_says_how_to_get_some(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(tmp_path, "list-models") == 0
    assert "pip install" in capsys.readouterr().out


def test_list_plugins_says_what_each_provides(acme: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(acme, "list-plugins", "--json") == 0
    plugins = {plugin["name"]: plugin for plugin in json.loads(capsys.readouterr().out)["plugins"]}
    assert plugins["core"]["provides"]["export target"] == ["tflite"]
    assert plugins["acme"]["provides"]["model family"] == ["acme"]


def test_doctor_finds_a_healthy_installation_in_order(acme: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(acme, "doctor") == 0
    out = capsys.readouterr().out
    assert "Everything is in order." in out
    assert "ai-edge-litert" in out


def test_a_deep_doctor_finds_what_cannot_be_imported(acme: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(acme, "doctor", "--deep", "--json") == 2
    subjects = [problem["subject"] for problem in json.loads(capsys.readouterr().out)["problems"]]
    assert "command nowhere (edgegen-acme 1.0)" in subjects
    assert "command fails (edgegen-acme 1.0)" not in subjects


def test_an_error_is_printed_with_details_and_hints(acme: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(acme, "fails") == 4
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == (
        "error[EG204]: checkpoint does not match\n  missing   a.weight\n  raised by edgegen-acme 1.0\n"
        "hint: use b\nhint: ask acme\n"
    )


@pytest.mark.parametrize("command", ["misused", "broken"])
def test_who_noticed_a_mistake_of_others_is_not_named(command: str, acme: Path, capsys) -> None:
    assert call(acme, command) == 2
    assert "raised by" not in capsys.readouterr().err


def test_with_json_an_error_is_a_document_on_stdout(acme: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(acme, "fails", "--json") == 4
    captured = capsys.readouterr()
    assert captured.err == ""
    assert json.loads(captured.out) == {
        "schema_version": 1,
        "error": {
            "code": "EG204",
            "message": "checkpoint does not match",
            "details": ["missing   a.weight"],
            "hint": "use b\nask acme",
            "plugin": {"package": "edgegen-acme", "version": "1.0"},
        },
    }


@pytest.mark.parametrize(
    ("args", "code", "says"),
    [
        (["list-modls"], 2, "hint: did you mean edgegen list-models?"),
        (["qqqqqqq"], 2, "hint: edgegen --help lists the commands"),
        (["--jason"], 2, "error[EG100]: no such option"),
        (["doctor", "--dep"], 2, "--deep"),
        (["doctor", "surplus"], 2, "hint: edgegen doctor --help"),
        (["nowhere"], 2, "cannot load 'edgegen_acme:nowhere' of plugin acme (edgegen-acme 1.0)"),
        (["no-command"], 2, "is type, expected click.Command"),
        (
            ["lacks"],
            2,
            "error[EG127]: this needs the library not_there, which is not installed",
        ),
        (["full"], 6, "error[EG601]: no space left on device: /x/model.tflite"),
        (["denied"], 6, "error[EG601]: permission denied: /root/x"),
        (["memory"], 6, "error[EG602]: out of memory"),
        (["interrupted"], 130, "error[EG130]: interrupted\n"),
        (["exits"], 1, "the end"),
        (["three"], 3, ""),
    ],
)
def test_exit_codes(args: list[str], code: int, says: str, acme: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(acme, *args) == code
    captured = capsys.readouterr()
    assert says in captured.err
    assert "Traceback" not in captured.err


def test_a_bug_is_called_a_bug_and_shows_its_traceback_on_request(
    acme: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(acme, "crashes") == 1
    quiet = capsys.readouterr().err
    assert "error[EG000]: unexpected ZeroDivisionError in edgegen-acme 1.0: by zero" in quiet
    assert "this is a bug" in quiet
    assert "to the author of edgegen-acme" in quiet
    assert "Traceback" not in quiet
    assert call(acme, "--debug", "crashes") == 1
    assert "Traceback" in capsys.readouterr().err


def test_a_reader_that_goes_away_is_no_error(acme: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "edgegen", "lines"],
        env=environment(acme, alone=True),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    assert process.stdout.readline() == b"0\n"
    process.stdout.close()
    assert process.wait(60) == 141
    assert process.stderr.read() == b""
    process.stderr.close()


def test_a_full_disk_behind_stdout_is_a_resource_error(acme: Path) -> None:
    with open("/dev/full", "w") as full:
        process = subprocess.run(
            [sys.executable, "-m", "edgegen", "list-models"],
            env=environment(acme, alone=True),
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
            check=False,
        )
    assert process.returncode == 6
    assert process.stderr.startswith("error[EG601]: no space left on device\n")


def test_control_c_ends_with_one_line(tmp_path: Path) -> None:
    source = (
        "import click, time\nfrom edgegen import hookimpl\nfrom edgegen.descriptors import Command\n"
        "@hookimpl\ndef edgegen_commands():\n"
        "    yield Command(name='wait', summary='', command='edgegen_acme:wait')\n"
        "@click.command()\ndef wait():\n    click.echo('ready')\n    time.sleep(60)\n"
    )
    make_distribution(tmp_path, "edgegen-acme", source)
    process = subprocess.Popen(
        [sys.executable, "-m", "edgegen", "wait"],
        env=environment(tmp_path, alone=True),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    process.stdout.readline()
    time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert errors == "error[EG130]: interrupted\n"


def test_progress_is_a_plain_line_on_stderr_and_data_is_on_stdout(acme: Path) -> None:
    out = run(acme, "stages")
    note, stage, warning = out.stderr.splitlines()
    assert note == "by the [way]"
    assert stage.split()[:3] == ["weights", "2.0", "MB"]
    assert stage.endswith("s   blocks.1")
    assert warning == "warning: careful"
    assert out.stdout == "done\n"


def test_quiet_keeps_warnings_only(acme: Path) -> None:
    assert run(acme, "stages", "--quiet").stderr == "warning: careful\n"


def test_with_json_stdout_holds_one_document(acme: Path) -> None:
    assert json.loads(run(acme, "stages", "--json").stdout) == {"schema_version": 1, "done": True}


def test_on_a_terminal_progress_is_drawn_and_wiped(acme: Path) -> None:
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "edgegen", "stages"],
        env=environment(acme, alone=True, TERM="xterm"),
        stdout=subprocess.DEVNULL,
        stderr=theirs,
    )
    assert process.wait(60) == 0
    os.close(theirs)
    drawn = os.read(ours, 65536).decode()
    os.close(ours)
    assert "\x1b[2K" in drawn  # the drawing was wiped
    assert "by the [way]" in drawn
    assert drawn.rstrip().endswith("careful")


def test_a_stage_that_raises_prints_no_closing_line(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ValueError, match="disk"), Output().stage("weights"):
        raise ValueError("disk")
    assert capsys.readouterr().err == ""


def test_json_takes_paths_and_sets_and_turns_what_is_not_finite_into_null(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stdout = io.StringIO()
    monkeypatch.setattr(sys, "stdout", stdout)
    payload = {"path": Path("a/b"), "set": {"b", "a"}, "nan": float("nan"), "list": (1, 2.5)}
    Output(json=True).result(payload, "")
    assert json.loads(stdout.getvalue()) == {
        "schema_version": 1,
        "path": "a/b",
        "set": ["a", "b"],
        "nan": None,
        "list": [1, 2.5],
    }


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (999, "999 B"),
        (1000, "1.0 kB"),
        (134_500_000, "134.5 MB"),
        (999_960_000, "1.0 GB"),
        (5 * 10**12, "5.0 TB"),
    ],
)
def test_bytes_are_written_for_people(count: int, text: str) -> None:
    assert format_bytes(count) == text


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (12, "12"),
        (256_000, "256 K"),
        (134_515_008, "135 M"),
        (999_600_000, "1.0 B"),
        (1_100_048_384, "1.1 B"),
    ],
)
def test_parameters_are_written_for_people(count: int, text: str) -> None:
    assert format_count(count) == text
