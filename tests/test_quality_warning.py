"""Exports warn where a scheme costs much, and name a better one."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest


def exported(edgegen, checkpoint, output, scheme: str):
    options = ("--prefill-lengths", "8", "--cache-length", "48", "--cache-buckets", "none")
    result = edgegen("export", "tiny-100k", "--checkpoint", checkpoint, "-o", output, "--scheme", scheme, *options)
    assert result.code == 0, result.err
    error = json.loads((output / "export.json").read_text())["verification"]["logits_error"]
    return error, [line for line in result.err.splitlines() if "costs much of what" in line]


def test_a_scheme_that_loses_much_is_warned_of_with_a_better_one(edgegen, checkpoint, tmp_path):
    error, (warning,) = exported(edgegen, checkpoint, tmp_path / "out", "int4-channel")
    assert error > 0.25
    assert "int4-channel costs much of what tiny-100k can do: logits error" in warning
    assert "--scheme int8-channel loses less" in warning


@pytest.mark.parametrize("scheme", ["int8-channel", "fp32"])
def test_a_scheme_that_loses_little_is_not(scheme, edgegen, checkpoint, tmp_path):
    error, warnings = exported(edgegen, checkpoint, tmp_path / "out", scheme)
    assert error < 0.25
    assert warnings == []


def test_what_a_family_accepts_is_up_to_the_family(edgegen, checkpoint, tmp_path, monkeypatch):
    from edgegen.export import planner

    named = planner._named
    monkeypatch.setattr(
        planner, "_named", lambda name: (replace(named(name)[0], acceptable_error=1e-3), named(name)[1])
    )
    _, (warning,) = exported(edgegen, checkpoint, tmp_path / "out", "int8-channel")
    assert "--scheme fp32 loses less" in warning
