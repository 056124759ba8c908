"""Checkpoints that nobody should trust: each is refused in a sentence, at once, in little memory, and runs no code."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
from collections import Counter

import corruption
import pytest
import torch
from corruption import CASES
from damaged_pytorch import CANARY, evaluated, executed, loaded, saved, shell
from tiny_gguf import write_gguf

from edgegen.testing.damage import digest, write
from edgegen.testing.plugins import environment

SECONDS = 10
GROWTH = 200 * 2**20
REFUSALS = {2, 3, 4, 6}

# Runs all commands in one process: libraries are imported once, and memory is compared with what sound ones take.
WORKER = """
import contextlib, io, json, os, resource, shutil, signal, sys, time
from pathlib import Path
from edgegen.cli import main

class Hangs(BaseException):
    pass

def ring(signal, frame):
    raise Hangs

signal.signal(signal.SIGALRM, ring)

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

def run(*arguments):
    # As strict about encodings as a terminal.
    out = io.TextIOWrapper(io.BytesIO(), "utf-8", newline="")
    err = io.TextIOWrapper(io.BytesIO(), "utf-8", "backslashreplace", newline="")
    before, begin = peak(), time.perf_counter()
    signal.alarm({seconds})
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = main(arguments)
    except BaseException as error:
        code = f"raises {{type(error).__name__}}"
    finally:
        signal.alarm(0)
    err.flush()
    left = sorted(os.listdir())
    for name in left:
        shutil.rmtree(name) if os.path.isdir(name) else os.unlink(name)
    message = err.buffer.getvalue().decode()[-4000:]
    return dict(code=code, err=message, seconds=time.perf_counter() - begin, rise=peak() - before, left=left)

def both(path):
    export = run("export", "tiny-100k", "--checkpoint", path, "-o", "out/model", "--prefill-lengths", "4",
                 "--cache-length", "48", "--quiet")
    return dict(export=export, checkpoint=run("checkpoint", path))

def report(name, path):
    print(json.dumps([name, both(path)]), file=sys.__stdout__, flush=True)

work = json.load(sys.stdin)
os.chdir(work["folder"])
for name, path in work["sound"].items():
    report(name, path)
sound = peak()
size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (size + 2**31, size + 2**31))
for name, path in work["damaged"].items():
    report(name, path)
print(json.dumps(["growth", peak() - sound]), file=sys.__stdout__, flush=True)
"""


@pytest.fixture(scope="module")
def sound(checkpoint, tmp_path_factory):
    folder = tmp_path_factory.mktemp("gguf")
    matrices = ("blk.*.attn_[qkvo]*.weight", "blk.*.ffn_[gud]*.weight")
    files = [
        write_gguf(checkpoint, folder / f"{len(kinds)}.gguf", kinds) for kinds in ({}, dict.fromkeys(matrices, "Q4_0"))
    ]
    return corruption.sound(checkpoint, *(file.read_bytes() for file in files))


@pytest.fixture(scope="module")
def damaged(sound):
    return {case.name: case.build(sound.bases) for case in CASES}


@pytest.fixture(scope="module")
def outcomes(sound, damaged, tiny_family, tmp_path_factory):
    """Name of a case, or of a sound checkpoint -> what the commands came to."""
    folder = tmp_path_factory.mktemp("damaged")
    work = {
        "folder": str(tmp_path_factory.mktemp("work")),
        "sound": {name: str(write(files, folder / name)) for name, files in sound.bases.items()},
        "damaged": {
            case.name: str(write(damaged[case.name], folder / str(number)) / case.named)
            for number, case in enumerate(CASES)
        },
    }
    done = subprocess.run(
        [sys.executable, "-c", WORKER.format(seconds=SECONDS)],
        input=json.dumps(work),
        env=environment(tiny_family),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    results = dict(map(json.loads, done.stdout.splitlines()))
    assert "growth" in results, f"died at case {len(results)} with {done.returncode}: {done.stderr[-2000:]}"
    return results


def complaints(result: dict) -> list[str]:
    """What is wrong with how a command refused a checkpoint."""
    code, err = result["code"], result["err"]
    found = [f"it ends with {code}"] if code not in REFUSALS else []
    found += [f"there is no {mark!r}" for mark in ("error[EG", "hint: ") if mark not in err]
    found += ["there is a traceback"] if "Traceback" in err else []
    found += [f"it left {result['left']}"] if result["left"] else []
    return [*found, err] if found else []


@pytest.mark.parametrize("base", corruption.BASES)
def test_the_sound_ones_are_exported(base, outcomes):
    result = outcomes[base]["export"]
    assert result["code"] == 0, result["err"]
    assert result["left"] == ["out"]
    assert outcomes[base]["checkpoint"]["code"] == 0


@pytest.mark.parametrize("name", [case.name for case in CASES])
def test_the_damaged_ones_are_refused(name, outcomes):
    found = complaints(outcomes[name]["export"])
    assert not found, "\n".join(found)


@pytest.mark.parametrize("name", [case.name for case in CASES])
def test_the_damaged_ones_are_looked_at_safely(name, outcomes):
    """Damage to what it does not read, such as the tokenizer, is none of its business."""
    result = outcomes[name]["checkpoint"]
    found = complaints(result) if result["code"] != 0 or result["left"] else []
    assert not found, "\n".join(found)


def test_memory_stays_as_it_was(outcomes):
    rises = {
        (name, command): result["rise"]
        for name, both in outcomes.items()
        if name not in ("growth", *corruption.BASES)
        for command, result in both.items()
    }
    worst = max(rises, key=rises.get)
    print(f"{outcomes['growth'] / 2**20:.0f} MiB more, {rises[worst] / 2**20:.0f} of them by {worst[1]} of {worst[0]}")
    assert outcomes["growth"] < GROWTH, worst


def test_each_is_refused_in_time(outcomes):
    slowest = max((case.name for case in CASES), key=lambda name: outcomes[name]["export"]["seconds"])
    print(f"{outcomes[slowest]['export']['seconds']:.1f} s for {slowest}")
    assert outcomes[slowest]["export"]["seconds"] < SECONDS


def test_there_are_two_hundred_distinct_ones(damaged):
    assert len(CASES) == 200
    assert len({case.name for case in CASES}) == len(CASES)
    assert len({(digest(damaged[case.name]), case.named) for case in CASES}) == len(CASES)


def test_they_are_the_same_each_time(sound, damaged):
    for case in CASES[::7]:
        assert digest(case.build(sound.bases)) == digest(damaged[case.name])


def test_each_kind_of_damage_is_there_and_met_in_its_own_words(outcomes):
    messages: dict[str, set[str]] = {}
    codes = Counter()
    for case in CASES:
        first = next(line for line in outcomes[case.name]["export"]["err"].splitlines() if "error[" in line)
        messages.setdefault(case.category, set()).add(re.sub(r"[\d,]+|'[^']*'", "#", first))
        codes[first[:12]] += 1
    counts = Counter(case.category for case in CASES)
    print(counts, codes, {category: len(texts) for category, texts in messages.items()})
    assert messages.keys() == corruption.LEAST.keys()
    for category, (rows, texts) in corruption.LEAST.items():
        assert counts[category] >= rows
        assert len(messages[category]) >= texts
    assert len(codes) >= 6


@pytest.mark.parametrize("make", [shell, evaluated, executed, loaded])
@pytest.mark.parametrize("legacy", [False, True])
def test_the_code_would_run_elsewhere(make, legacy, tmp_path, monkeypatch):
    """Or its absence would prove nothing."""
    monkeypatch.chdir(tmp_path)
    torch.load(io.BytesIO(saved({"step": make()}, legacy=legacy)), weights_only=False)
    assert os.listdir() == [CANARY]
