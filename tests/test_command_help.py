"""Help of the commands: options in groups, defaults as documented, examples that parse."""

from __future__ import annotations

import shlex

import click
import pytest
from click.testing import CliRunner

from edgegen.cli.options import GroupedCommand
from edgegen.plugins import load, registry

COMMANDS = {name: load(provided.descriptor.command) for name, provided in registry().commands.items()}
GROUPED = {name: command for name, command in COMMANDS.items() if isinstance(command, GroupedCommand)}
COMMON = {"--json", "--quiet", "--help"}
"""Options of every command, listed last."""


def arguments(line: str) -> list[str]:
    """Arguments of an example, without the program, the command and what the shell redirects."""
    words = shlex.split(line)
    assert words[0] == "edgegen"
    return words[2 : words.index("<") if "<" in words else None]


def test_the_commands_that_run_models_have_grouped_help():
    assert {"run", "embed", "evaluate", "bench", "serve", "adapter", "tokenizer"} <= GROUPED.keys()


@pytest.mark.parametrize("name", GROUPED)
def test_examples_parse(name):
    assert GROUPED[name].examples
    for line, purpose in GROUPED[name].examples:
        assert shlex.split(line)[1] == name
        assert purpose[0].isupper()
        assert not purpose.endswith(".")
        with GROUPED[name].make_context(name, arguments(line)) as context:
            assert context.params


@pytest.mark.parametrize("name", GROUPED)
def test_every_option_has_a_group_and_says_what_it_is(name):
    for parameter in GROUPED[name].params:
        if isinstance(parameter, click.Option) and not COMMON & set(parameter.opts):
            assert getattr(parameter, "group", None), parameter.name
            assert parameter.help, parameter.name
            assert parameter.help[0].isupper(), parameter.help


@pytest.mark.parametrize("name", GROUPED)
def test_help_shows_groups_and_examples(name):
    text = CliRunner().invoke(GROUPED[name], ["--help"]).output
    for line, _ in GROUPED[name].examples:
        assert f"  {line}\n" in text
    groups = {parameter.group for parameter in GROUPED[name].params if getattr(parameter, "group", None)}
    assert all(f"\n{group}:\n" in text for group in groups)
