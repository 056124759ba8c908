"""The plugin manager: what it finds, and that nothing a plugin does wrong takes the others with it."""

from __future__ import annotations

import dataclasses
import inspect
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from edgegen import descriptors, hookspecs
from edgegen.errors import ErrorCode, PluginError, UsageError
from edgegen.plugins import Problem, load, registry
from edgegen.plugins.checks import REFERENCES, TYPES, flaw
from edgegen.testing.plugins import environment, installed, make_distribution

HEAD = """
from edgegen import hookimpl
from edgegen.descriptors import Command, ModelFamily, QuantScheme, Variant

GOOD = Command(name="good", summary="works", command="acme:good")
"""


class Fault(NamedTuple):
    """A broken plugin, and what is said about it."""

    source: str
    code: str
    says: str
    keeps_good: bool = False


FAULTS = {
    "raises on import": Fault("raise RuntimeError('no luck')", "EG111", "RuntimeError: no luck"),
    "needs a package that is missing": Fault("import not_there", "EG111", "No module named 'not_there'"),
    "exits on import": Fault("import sys; sys.exit(3)", "EG111", "SystemExit: 3"),
    "has a syntax error": Fault("def (:", "EG111", "SyntaxError"),
    "misspells a hook": Fault("@hookimpl\ndef edgegen_comands():\n    yield GOOD", "EG112", "no hook edgegen_comands"),
    "marks something that is no hook": Fault("@hookimpl\ndef commands():\n    yield GOOD", "EG112", "no hook commands"),
    "forgets the mark": Fault("def edgegen_commands():\n    yield GOOD", "EG112", "is not marked"),
    "takes unknown arguments": Fault(
        "@hookimpl\ndef edgegen_commands(everything):\n    yield GOOD",
        "EG113",
        "(everything) takes arguments",
    ),
    "wraps a hook": Fault(
        "@hookimpl(wrapper=True)\ndef edgegen_commands():\n    return (yield)", "EG113", "wraps a hook"
    ),
    "raises in a hook": Fault(
        "@hookimpl\ndef edgegen_commands():\n    raise KeyError('x')", "EG114", "edgegen_commands raised"
    ),
    "exits in a hook": Fault("@hookimpl\ndef edgegen_commands():\n    raise SystemExit", "EG114", "SystemExit"),
    "raises half way": Fault(
        "@hookimpl\ndef edgegen_commands():\n    yield GOOD\n    raise ValueError('later')",
        "EG114",
        "ValueError: later",
        keeps_good=True,
    ),
    "raises an error that cannot be shown": Fault(
        "class E(Exception):\n    def __str__(self): 1/0\n@hookimpl\ndef edgegen_commands():\n    raise E",
        "EG114",
        "its message cannot be shown",
    ),
    "yields the wrong type": Fault(
        "@hookimpl\ndef edgegen_commands():\n    yield 'run'\n    yield GOOD",
        "EG115",
        "is str, expected Command",
        keeps_good=True,
    ),
    "yields a field of the wrong type": Fault(
        "@hookimpl\ndef edgegen_commands():\n    yield Command(name=['x'], summary='', command='a:b')",
        "EG115",
        "has name of type list, expected str",
    ),
    "yields an import path without an attribute": Fault(
        "@hookimpl\ndef edgegen_commands():\n    yield Command(name='x', summary='', command='a.b')",
        "EG115",
        "refers to 'a.b', expected 'module:attr'",
    ),
    "forgets the comma of a tuple": Fault(
        "@hookimpl\ndef edgegen_quant_schemes():\n"
        "    yield QuantScheme(name='x', summary='', scheme='a:b', aliases=('y'))",
        "EG115",
        "has aliases of type str",
    ),
    "returns nothing": Fault(
        "@hookimpl\ndef edgegen_commands():\n    GOOD", "EG115", "returned NoneType, expected an iterable"
    ),
    "returns one descriptor": Fault(
        "@hookimpl\ndef edgegen_commands():\n    return GOOD",
        "EG115",
        "returned Command, expected an iterable",
    ),
    "takes the name of a core command": Fault(
        "@hookimpl\ndef edgegen_commands():\n"
        "    yield Command(name='list-models', summary='', command='acme:x')\n    yield GOOD",
        "EG116",
        "of edgegen-acme is refused: edgegen-core has that name",
        keeps_good=True,
    ),
}

faults = pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS.keys())


def write(folder: Path, fault: Fault) -> None:
    make_distribution(folder, "edgegen-acme", HEAD + fault.source)


def problem_of(folder: Path) -> Problem:
    with installed(folder, alone=True):
        [problem] = registry().problems
    return problem


def edgegen(*args: str, env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "edgegen", *args],
        env=env,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@faults
def test_a_fault_is_reported_with_its_plugin_package_and_remedy(fault: Fault, tmp_path: Path) -> None:
    write(tmp_path, fault)
    problem = problem_of(tmp_path)
    assert (problem.code, problem.plugin.name, problem.plugin.distribution) == (
        fault.code,
        "acme",
        "edgegen-acme",
    )
    assert fault.says in problem.message
    assert problem.remedy


@faults
def test_a_fault_leaves_everything_sound_in_place(fault: Fault, tmp_path: Path) -> None:
    write(tmp_path, fault)
    make_distribution(tmp_path, "edgegen-zeta", HEAD + good_command("zeta"))
    with installed(tmp_path, alone=True):
        known = registry()
    assert {"list-models", "doctor", "zeta"} <= known.commands.keys()
    assert known.commands["list-models"].distribution == "edgegen-core"
    assert ("good" in known.commands) == fault.keeps_good
    loaded = [plugin for plugin in known.plugins if plugin.status != "disabled"]
    assert {plugin.name: plugin.status for plugin in loaded} == {"core": "ok", "acme": "broken", "zeta": "ok"}


@faults
def test_strict_raises_the_fault_instead(fault: Fault, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, fault)
    monkeypatch.setenv("EDGEGEN_STRICT", "1")
    with installed(tmp_path, alone=True), pytest.raises(PluginError, match="edgegen-acme") as raised:
        registry()
    assert raised.value.code == fault.code


@pytest.mark.parametrize(
    "fault",
    [
        FAULTS["raises on import"],
        FAULTS["misspells a hook"],
        FAULTS["raises in a hook"],
        FAULTS["raises half way"],
        FAULTS["yields the wrong type"],
        FAULTS["takes the name of a core command"],
    ],
    ids=["import", "misspelt", "raises", "half way", "wrong type", "duplicate"],
)
def test_the_program_works_with_a_broken_plugin_and_doctor_explains_it(fault: Fault, tmp_path: Path) -> None:
    write(tmp_path, fault)
    env = environment(tmp_path, alone=True)

    listing = edgegen("list-models", env=env)
    assert listing.returncode == 0, listing.stderr
    assert "broken: acme (edgegen-acme 1.0)" in listing.stdout
    assert fault.says in listing.stdout

    doctor = edgegen("doctor", "--json", env=env)
    [problem] = json.loads(doctor.stdout)["problems"]
    assert doctor.returncode == 2
    assert (problem["code"], problem["subject"]) == (fault.code, "plugin acme (edgegen-acme 1.0)")
    assert problem["remedy"]

    strict = edgegen("list-models", env={**env, "EDGEGEN_STRICT": "1"})
    assert strict.returncode == 2
    assert "Traceback" in strict.stderr
    assert f"error[{fault.code}]" in strict.stderr


def good_command(name: str) -> str:
    return (
        "\n@hookimpl\ndef edgegen_commands():\n"
        f"    yield Command(name={name!r}, summary='', command='edgegen_zeta:x')\n"
    )


def test_a_misspelt_hook_is_told_the_closest_one(tmp_path: Path) -> None:
    write(tmp_path, FAULTS["misspells a hook"])
    assert problem_of(tmp_path).remedy == "did you mean edgegen_commands?"


def test_a_problem_says_where_the_plugin_raised(tmp_path: Path) -> None:
    write(tmp_path, FAULTS["raises in a hook"])
    problem = problem_of(tmp_path)
    assert problem.location.startswith(str(tmp_path / "edgegen_acme.py:"))
    assert "KeyError" in problem.traceback


def test_interrupting_a_plugin_interrupts_the_program(tmp_path: Path) -> None:
    make_distribution(tmp_path, "edgegen-acme", "raise KeyboardInterrupt")
    with installed(tmp_path, alone=True), pytest.raises(KeyboardInterrupt):
        registry()


def test_a_disabled_plugin_is_not_imported(tmp_path: Path) -> None:
    write(tmp_path, FAULTS["raises on import"])
    out = edgegen("list-plugins", "--json", env=environment(tmp_path, EDGEGEN_DISABLED_PLUGINS=" x, acme,"))
    plugins = {plugin["name"]: plugin for plugin in json.loads(out.stdout)["plugins"]}
    assert plugins["acme"]["status"] == "disabled"
    assert plugins["acme"]["problems"] == []


def test_unreadable_metadata_of_one_distribution_hides_no_other(tmp_path: Path) -> None:
    make_distribution(tmp_path, "edgegen-acme", "")
    (tmp_path / "edgegen_acme-1.0.dist-info" / "entry_points.txt").write_text("[edgegen]\nno equals sign\n")
    with installed(tmp_path):
        assert "list-models" in registry().commands


@pytest.mark.parametrize("names", [("edgegen-aaa", "edgegen-bbb"), ("edgegen-bbb", "edgegen-aaa")])
def test_a_name_that_two_packages_claim_is_neither_s(names: tuple[str, str], tmp_path: Path) -> None:
    for name in names:
        make_distribution(tmp_path, name, HEAD + family(name[-3:], "tiny-1m", f"{name[-3:]}-2m"))
    with installed(tmp_path, alone=True):
        known = registry()
        qualified = {f"{name}:tiny-1m" for name in names}
        assert set(known.variants) == {*qualified, "aaa-2m", "bbb-2m"}
        for name in names:
            found, row = known.variant(f"{name}:tiny-1m")
            assert (found.name, row.name) == (name[-3:], "tiny-1m")
        with pytest.raises(UsageError, match="claimed by 2 packages") as caught:
            known.variant("tiny-1m")
        assert caught.value.hint == "say whose: edgegen-aaa:tiny-1m or edgegen-bbb:tiny-1m"
    assert [problem.conflict for problem in known.problems] == [True, True]
    assert {plugin.status for plugin in known.plugins if plugin.distribution in names} == {"ok"}


def test_a_name_of_core_stays_core_s(tmp_path: Path) -> None:
    scheme = "QuantScheme(name='fp32', summary='', scheme='a:b')"
    make_distribution(tmp_path, "edgegen-aaa", f"{HEAD}\n@hookimpl\ndef edgegen_quant_schemes():\n    yield {scheme}\n")
    with installed(tmp_path, alone=True):
        assert registry().quant_schemes["fp32"].distribution == "edgegen-core"
        assert "edgegen-core has that name already" in registry().problems[0].message


def test_an_alias_that_two_packages_claim_is_neither_s(tmp_path: Path) -> None:
    for name in ("one", "two"):
        scheme = f"QuantScheme(name='{name}', summary='', scheme='a:b', aliases=('both', 'only-{name}'))"
        source = f"{HEAD}\n@hookimpl\ndef edgegen_quant_schemes():\n    yield {scheme}\n"
        make_distribution(tmp_path, f"edgegen-{name}", source)
    with installed(tmp_path, alone=True):
        known = registry()
    schemes = known.quant_schemes.items()
    owners = {name: provided.descriptor.name for name, provided in schemes if provided.plugin != "core"}
    assert owners == {
        "one": "one", "edgegen-one:both": "one", "only-one": "one",
        "two": "two", "edgegen-two:both": "two", "only-two": "two",
    }  # fmt: skip


def test_of_two_in_one_package_the_first_has_the_name(tmp_path: Path) -> None:
    make_distribution(tmp_path, "edgegen-aaa", HEAD + good_command("twice") + good_command("twice"))
    with installed(tmp_path, alone=True):
        assert "twice" in registry().commands


def test_what_a_plugin_prints_goes_to_stderr(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = f"print('on import')\n{HEAD}\n@hookimpl\ndef edgegen_commands():\n    print('in a hook')\n    yield GOOD\n"
    make_distribution(tmp_path, "edgegen-loud", source)
    with installed(tmp_path, alone=True):
        assert registry().commands
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "on import" in captured.err
    assert "in a hook" in captured.err


def test_doctor_names_slow_plugins_and_requirements_that_are_not_met(tmp_path: Path) -> None:
    make_distribution(tmp_path, "edgegen-slow", f"import time\ntime.sleep(1.2)\n{HEAD}" + good_command("slow"))
    metadata = tmp_path / "edgegen_slow-1.0.dist-info" / "METADATA"
    metadata.write_text("Metadata-Version: 2.1\nName: edgegen-slow\nVersion: 1.0\nRequires-Dist: edgegen-core>=99\n")
    run = edgegen("doctor", "--json", env=environment(tmp_path))
    problems = {problem["code"]: problem for problem in json.loads(run.stdout)["problems"]}
    assert "importing it takes 1." in problems["EG139"]["message"]
    assert "needs edgegen-core>=99, and" in problems["EG140"]["message"]


def test_one_module_under_two_entry_points_is_registered_once(tmp_path: Path) -> None:
    make_distribution(tmp_path, "edgegen-zeta", HEAD + good_command("zeta"))
    information = tmp_path / "edgegen_zeta-1.0.dist-info" / "entry_points.txt"
    information.write_text("[edgegen]\nzeta = edgegen_zeta\nzeta2 = edgegen_zeta\n")
    with installed(tmp_path, alone=True):
        known = registry()
    assert "zeta" in known.commands
    assert "registered already by plugin zeta" in known.problems[0].message


def test_an_entry_point_must_name_a_module(tmp_path: Path) -> None:
    make_distribution(tmp_path, "edgegen-acme", "def setup(): ...")
    (tmp_path / "edgegen_acme-1.0.dist-info" / "entry_points.txt").write_text("[edgegen]\nacme = edgegen_acme:setup\n")
    assert "a function, expected a module" in problem_of(tmp_path).message


def test_importing_a_package_that_is_named_like_a_hook_is_no_fault(tmp_path: Path) -> None:
    make_distribution(tmp_path, "edgegen-acme", "import edgegen_layers", files={"edgegen_layers.py": "x = 1"})
    with installed(tmp_path, alone=True):
        assert registry().problems == ()


def test_a_plugin_that_imports_heavy_libraries_is_known(tmp_path: Path) -> None:
    # Another process, since this one may have imported them before.
    make_distribution(tmp_path, "edgegen-acme", "import numpy")
    out = edgegen("doctor", "--json", env=environment(tmp_path, alone=True))
    heavy = {plugin["name"]: plugin["heavy"] for plugin in json.loads(out.stdout)["plugins"]}
    assert heavy["acme"] == ["numpy"]
    assert heavy["core"] == []


def family(name: str, *variants: str) -> str:
    rows = ", ".join(f"Variant(name={v!r}, parameters=1, context_length=8, source='', license='mit')" for v in variants)
    return (
        "\n@hookimpl\ndef edgegen_model_families():\n"
        f"    yield ModelFamily(name={name!r}, summary='', variants=({rows},), config='a:b', builder='a:b')\n"
    )


@pytest.fixture
def tiny(tmp_path: Path) -> Iterator[None]:
    make_distribution(tmp_path, "edgegen-tiny", HEAD + family("tiny", "tiny-1m", "tiny-2m"))
    with installed(tmp_path, alone=True):
        yield


def test_a_variant_is_found_with_its_family(tiny: None) -> None:
    family, variant = registry().variant("tiny-2m")
    assert (family.name, variant.name) == ("tiny", "tiny-2m")


def test_an_unknown_name_is_told_what_exists_and_what_is_closest(tiny: None) -> None:
    with pytest.raises(UsageError) as raised:
        registry().variant("Tiny-3m")
    assert raised.value.message == "there is no model named 'Tiny-3m'"
    assert raised.value.details == ("available   tiny-1m, tiny-2m",)
    assert raised.value.hint in ("did you mean tiny-1m?", "did you mean tiny-2m?")


def test_a_kind_of_model_that_nobody_knows_is_refused(tmp_path: Path) -> None:
    source = family("tiny", "tiny-1m").replace("summary='',", "summary='', task='diffuser',")
    make_distribution(tmp_path, "edgegen-tiny", HEAD + source)
    with installed(tmp_path, alone=True):
        (problem,) = registry().problems
    assert "has the task 'diffuser', expected one of text-generation, feature-extraction" in problem.message


@pytest.mark.parametrize("lookup", ["family", "scheme", "checkpoint_format", "target"])
def test_every_lookup_refuses_an_unknown_name(lookup: str, tiny: None) -> None:
    with pytest.raises(UsageError, match=r"no .* named 'qqq'"):
        getattr(registry(), lookup)("qqq")


def test_an_unknown_name_recalls_that_a_plugin_is_broken(tmp_path: Path) -> None:
    write(tmp_path, FAULTS["raises on import"])
    with installed(tmp_path, alone=True), pytest.raises(UsageError) as raised:
        registry().variant("acme-1b")
    assert any("acme" in line and "edgegen doctor" in line for line in raised.value.details)


def test_a_reference_is_loaded() -> None:
    assert load("edgegen.errors:UsageError.exit_code") == 2


def test_a_reference_that_fails_names_the_plugin(tmp_path: Path) -> None:
    make_distribution(tmp_path, "edgegen-zeta", HEAD + good_command("zeta"))
    with installed(tmp_path, alone=True), pytest.raises(PluginError) as raised:
        load("edgegen_zeta:x")
    assert raised.value.message == "cannot load 'edgegen_zeta:x' of plugin zeta (edgegen-zeta 1.0)"
    assert "has no attribute 'x'" in raised.value.details[0]


def test_a_reference_that_needs_torch_says_what_to_install(tmp_path: Path) -> None:
    sentence = "raise ModuleNotFoundError(\"No module named 'torch'\", name='torch')"
    make_distribution(tmp_path, "edgegen-acme", "", files={"acme_heavy.py": sentence})
    with installed(tmp_path, alone=True), pytest.raises(UsageError) as raised:
        load("acme_heavy:x")
    assert raised.value.code == ErrorCode.DEPENDENCY_MISSING
    assert raised.value.hint == "pip install 'edgegen-core[convert]'"


def test_tables_cannot_be_changed() -> None:
    with pytest.raises(TypeError):
        registry().commands["x"] = None  # type: ignore[index]


def test_every_descriptor_field_is_checked() -> None:
    kinds = [kind for kind in vars(descriptors).values() if dataclasses.is_dataclass(kind)]
    annotations = {field.type for kind in kinds for field in dataclasses.fields(kind)}
    assert annotations == TYPES.keys()


def test_every_hook_yields_a_kind_whose_references_are_known() -> None:
    hooks = [hook for name, hook in vars(hookspecs).items() if name.startswith("edgegen_")]
    kinds = {inspect.signature(hook).return_annotation.removeprefix("Iterable[").removesuffix("]") for hook in hooks}
    assert kinds == {kind.__name__ for kind in REFERENCES}


def test_what_core_provides_is_sound() -> None:
    with installed(alone=True):
        assert all(flaw(item.descriptor, type(item.descriptor)) is None for _, item in registry().provided())
