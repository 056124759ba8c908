"""``edgegen serve``: where it may listen, what it says, and how it ends."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from contextlib import contextmanager

import httpx
import pytest
from click.testing import CliRunner

from edgegen.cli import main
from edgegen.errors import ResourceError, UsageError
from edgegen_serve.cli import serve as command
from edgegen_serve.http.server import bind, url_of


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "127.8.8.8"])
def test_loopback_needs_no_key(host):
    with bind(host, 0, has_key=False) as listener:
        assert listener.getsockname()[0].startswith("127.")


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1"])
def test_any_other_address_needs_one(host):
    with pytest.raises(UsageError, match="no API key") as raised:
        bind(host, 0, has_key=False)
    assert raised.value.code == "EG813"
    assert "EDGEGEN_API_KEY" in raised.value.hint


def test_the_address_is_shown_as_a_browser_takes_it():
    with bind("localhost", 0, has_key=False) as listener:
        assert url_of(listener) == f"http://127.0.0.1:{listener.getsockname()[1]}"
    with bind("::1", 0, has_key=False) as listener:
        assert url_of(listener) == f"http://[::1]:{listener.getsockname()[1]}"


def test_with_a_key_others_may_be_served():
    with bind("0.0.0.0", 0, has_key=True) as listener:
        assert listener.getsockname()[0] == "0.0.0.0"


@pytest.mark.parametrize("host", ["", "nowhere.invalid", "a..b", "x" * 80])
def test_a_host_that_is_none_is_named(host):
    with pytest.raises(UsageError, match="there is no host") as raised:
        bind(host, 0, has_key=True)
    assert raised.value.code == "EG812"


def test_an_address_that_is_taken_or_not_ours_is_named():
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(ResourceError, match=f"port {port}: address already in use"):
            bind("127.0.0.1", port, has_key=False)
    with pytest.raises(ResourceError, match=r"cannot listen on 192\.0\.2\.1") as raised:
        bind("192.0.2.1", 0, has_key=True)
    assert raised.value.code == "EG814"


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["--host", "0.0.0.0"], "EG813"),
        (["--api-key", ""], "EG815"),
        (["--api-key", "two words "], "EG815"),
        (["--api-key", "schlüssel"], "EG815"),
    ],
)
def test_mistakes_are_told_before_the_model_is_loaded(tmp_path, capsys, monkeypatch, arguments, code):
    monkeypatch.delenv("EDGEGEN_API_KEY", raising=False)
    assert main(["serve", str(tmp_path / "nothing"), "--json", *arguments]) == 2
    assert json.loads(capsys.readouterr().out)["error"]["code"] == code


def test_a_folder_that_is_no_export_is_told(tmp_path, capsys):
    assert main(["serve", str(tmp_path / "nothing"), "--port", "0"]) == 2
    assert "nothing" in capsys.readouterr().err


def test_a_model_without_tokenizer_is_told(exported, tmp_path, capsys):
    manifest = json.loads((exported / "manifest.json").read_text())
    (tmp_path / manifest["model"]).symlink_to(exported / manifest["model"])
    (tmp_path / "manifest.json").write_text(json.dumps({**manifest, "tokenizer": None, "chat_template": None}))
    assert main(["serve", str(tmp_path), "--port", "0"]) == 2
    assert "EG811" in capsys.readouterr().err


@pytest.mark.parametrize("size", ["1", "1B", "500kB", "2 MiB", "1gb"])
def test_sizes(size):
    assert "no size" not in CliRunner().invoke(command, ["/nothing", "--max-body", size]).output


@pytest.mark.parametrize("size", ["", "-1", "1.5MB", "lots", "9" * 13])
def test_wrong_sizes(size):
    result = CliRunner().invoke(command, ["/nothing", "--max-body", size])
    assert (result.exit_code, "like 500kB or 1MB" in result.output) == (2, True)


@contextmanager
def serving(folder, *options, **environment):
    """The command in a process of its own, once it says that it answers."""
    arguments = [sys.executable, "-m", "edgegen", "serve", str(folder), "--port", "0", "--threads", "1", *options]
    process = subprocess.Popen(
        arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, **environment}
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_cleanly(exported, ask, number):
    with serving(exported, EDGEGEN_API_KEY="abc") as process:
        line = process.stdout.readline()
        url = line.split(" at ")[1].partition(",")[0]
        assert line == f"parrot-100k at {url}, API at {url}/v1\n"
        assert httpx.post(f"{url}/v1/chat/completions", json=ask()).status_code == 401
        headers = {"Authorization": "Bearer abc"}
        with httpx.stream("POST", f"{url}/v1/chat/completions", json=ask(stream=True), headers=headers) as reply:
            process.send_signal(number)
            assert reply.read().endswith(b"data: [DONE]\n\n")
        out, err = process.communicate(timeout=20)
        assert (process.returncode, out) == (0, "")
        assert "Traceback" not in err
        assert "abc" not in line + err


def test_json_is_one_document_with_the_address(exported):
    with serving(exported, "--json") as process:
        lines = []
        while not lines or lines[-1] != "}\n":
            lines.append(process.stdout.readline())
        document = json.loads("".join(lines))
        assert document["model"] == "parrot-100k"
        assert httpx.get(f"{document['url']}/v1/models").status_code == 200


def test_nothing_heavy_is_imported_before_it_is_needed():
    code = (
        "import sys, edgegen_serve, edgegen_serve.plugin, edgegen_serve.cli\n"
        "list(edgegen_serve.plugin.edgegen_commands())\n"
        "heavy = {'starlette', 'uvicorn', 'h11', 'anyio', 'numpy', 'ai_edge_litert', 'edgegen_runtime', 'torch'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "[]\n"


def test_serving_needs_no_torch(exported):
    code = (
        "import sys, edgegen_runtime, edgegen_serve\n"
        f"edgegen_serve.create_app(edgegen_runtime.load({str(exported)!r}), edgegen_serve.Settings())\n"
        "print(sorted({'torch', 'transformers', 'openai'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "[]\n"
