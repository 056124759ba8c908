"""Help of commands: groups of options, examples."""

from __future__ import annotations

import click
import pytest
from click.testing import CliRunner

from edgegen.cli.options import GroupedCommand, option


@pytest.fixture
def command() -> click.Command:
    @click.command(
        cls=GroupedCommand, examples=[("edgegen paint wall --coats 2", "Paint twice"), ("edgegen paint", "")]
    )
    @click.argument("what", default="")
    @option("--coats", type=int, default=1, show_default=True, group="Paint", help="Layers of paint.")
    @click.option("--json", is_flag=True, help="Print JSON.")
    @option("--ladder", group="Tools", help="Ladder to use.")
    @option("--colour", group="Paint", help="Name of the colour.")
    @option("--secret", hidden=True, group="Secrets")
    def paint(**given: object) -> None:
        """Paint something."""
        click.echo(given["coats"])

    return paint


def test_options_are_listed_by_group_in_order_of_appearance_and_the_others_last(command: click.Command) -> None:
    text = CliRunner().invoke(command, ["--help"]).output
    marks = ["Paint:", "--coats", "--colour", "Tools:", "--ladder", "Options:", "--json", "--help", "Examples:"]
    places = [text.index(mark) for mark in marks]
    assert places == sorted(places)
    assert "Secrets" not in text
    assert text.count("WHAT") == 1  # an argument is no option


def test_examples_stand_unwrapped_below_what_they_do(command: click.Command) -> None:
    text = CliRunner().invoke(command, ["--help"], terminal_width=20).output
    assert "  # Paint twice\n  edgegen paint wall --coats 2\n\n" in text


def test_a_group_changes_nothing_else_about_an_option(command: click.Command) -> None:
    assert CliRunner().invoke(command, ["--coats", "3"]).output == "3\n"
