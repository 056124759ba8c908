"""The documentation of the hooks says what the code says, and its code runs."""

from __future__ import annotations

import dataclasses
import inspect
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

from edgegen import descriptors, hookspecs
from edgegen.plugins.checks import flaw
from edgegen.testing.plugins import environment, installed, make_distribution

DOCS = Path(__file__).parents[3] / "docs"
pytestmark = pytest.mark.skipif(not DOCS.is_dir(), reason="the documentation is not part of the wheel")

HOOKS = {name: hook for name, hook in vars(hookspecs).items() if name.startswith("edgegen_")}
KINDS: dict[str, Any] = {name: kind for name, kind in vars(descriptors).items() if dataclasses.is_dataclass(kind)}


def section(heading: str) -> str:
    """Text of ``docs/reference/hooks.md`` from a heading to the next one of the same or a higher level."""
    text = (DOCS / "reference" / "hooks.md").read_text(encoding="utf-8")
    level = heading.split(" ", maxsplit=1)[0]
    found = re.search(rf"^{heading}$(.*?)(?=^#{{1,{len(level)}}} |\Z)", text, re.MULTILINE | re.DOTALL)
    assert found, f"docs/reference/hooks.md has no heading {heading!r}"
    return found[1]


def code(text: str, language: str) -> list[str]:
    """Fenced blocks of a language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def written(field: dataclasses.Field[Any]) -> str:
    """A field as the docs spell it: ``name: type = default``."""
    default = ""
    if field.default is not dataclasses.MISSING:
        default = f" = {field.default!r}".replace("'", '"')
    elif field.default_factory is not dataclasses.MISSING:
        default = f" = {field.default_factory()!r}"
    return f"`{field.name}: {field.type}{default}`".replace("|", r"\|")


@pytest.mark.parametrize("name", HOOKS)
def test_a_hook_is_documented_with_its_exact_signature(name: str) -> None:
    signature = str(inspect.signature(HOOKS[name])).replace("'", "")
    assert f"{name}{signature}\n" in "".join(code(section(f"## {name}"), "text"))


@pytest.mark.parametrize("name", HOOKS)
def test_a_hook_has_an_example_that_gives_sound_descriptors(name: str) -> None:
    namespace: dict[str, Any] = {}
    for example in code(section(f"## {name}"), "python"):
        exec(example, namespace)
    annotation = inspect.signature(HOOKS[name]).return_annotation
    kind = KINDS[annotation.removeprefix("Iterable[").removesuffix("]")]
    given = list(namespace[name]())
    assert given
    assert [flaw(item, kind) for item in given] == [None] * len(given)


@pytest.mark.parametrize("name", KINDS)
def test_a_descriptor_is_documented_field_by_field(name: str) -> None:
    documented = re.findall(r"^\| (`.*?`) \|", section(f"### {name}"), re.MULTILINE)
    assert documented == [written(field) for field in dataclasses.fields(KINDS[name])]


@pytest.mark.parametrize("name", HOOKS)
def test_a_hook_says_since_when_it_exists(name: str) -> None:
    assert ".. versionadded:: " in (HOOKS[name].__doc__ or "")


class Tutorial:
    """The first-plugin tutorial, followed step by step in a folder."""

    def __init__(self, folder: Path) -> None:
        text = (DOCS / "tutorials" / "first-plugin.md").read_text(encoding="utf-8")
        self.folder = folder
        self.hello, self.with_output, self.test = code(text, "python")
        [self.project] = code(text, "toml")
        self.consoles = code(text, "console")

    def install(self, source: str) -> None:
        """What ``pip install`` makes of the tutorial's two files."""
        project = tomllib.loads(self.project)["project"]
        [(entry_point, module)] = project["entry-points"]["edgegen"].items()
        path = make_distribution(
            self.folder, project["name"], source, version=project["version"], entry_point=entry_point
        )
        assert path.stem == module

    def follow(self, console: str) -> None:
        """Type what follows ``$``; the lines below it must come out, in this order."""
        command, *expected = console.splitlines()
        args = command.removeprefix("$ edgegen ").split()
        out = subprocess.run(
            [sys.executable, "-m", "edgegen", *args],
            env=environment(self.folder, alone=True),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        lines = iter(out.stdout.splitlines())
        for line in expected:
            assert line in lines, f"{line!r} is missing, or out of order, in\n{out.stdout}{out.stderr}"


@pytest.fixture
def tutorial(tmp_path: Path) -> Tutorial:
    return Tutorial(tmp_path)


def test_the_first_plugin_says_hello(tutorial: Tutorial) -> None:
    tutorial.install(tutorial.hello)
    tutorial.follow(tutorial.consoles[0])


def test_the_first_plugin_is_short(tutorial: Tutorial) -> None:
    assert len([line for line in tutorial.hello.splitlines() if line.strip()]) <= 9


def test_doctor_explains_the_misspelt_hook_as_the_tutorial_shows(tutorial: Tutorial) -> None:
    tutorial.install(tutorial.hello.replace("def edgegen_commands", "def edgegen_command"))
    tutorial.follow(tutorial.consoles[1])


def test_the_first_plugin_prints_json_through_the_output_layer(tutorial: Tutorial) -> None:
    tutorial.install(tutorial.with_output)
    tutorial.follow(tutorial.consoles[2])


def test_the_tests_that_the_tutorial_shows_pass(tutorial: Tutorial) -> None:
    tutorial.install(tutorial.hello)
    namespace: dict[str, Any] = {}
    exec(tutorial.test, namespace)
    with installed(tutorial.folder, alone=True):
        namespace["test_hello_is_a_sound_command"]()
