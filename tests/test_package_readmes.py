"""The Python that the packages' READMEs print runs as it stands."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

PACKAGES = Path(__file__).parent.parent / "packages"
SNIPPETS = [
    pytest.param(code, id=f"{readme.parent.name}-{number}")
    for readme in sorted(PACKAGES.glob("*/README.md"))
    for number, code in enumerate(re.findall(r"^```python\n(.*?)^```", readme.read_text(), re.DOTALL | re.MULTILINE))
]
WEIGHTS = re.compile(r'"(SmolLM2-[^"]+\.gguf)"')
EXPORT = re.compile(r'"(smollm2-135m-instruct)"')


@pytest.mark.parametrize("code", SNIPPETS)
def test_code_runs(code: str, request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """What a snippet reads is put where it looks: the published checkpoint, or any exported folder."""
    for pattern, fixture in ((WEIGHTS, "smollm2"), (EXPORT, "exported")):
        for name in pattern.findall(code):
            (tmp_path / name).symlink_to(request.getfixturevalue(fixture))
    monkeypatch.chdir(tmp_path)
    exec(compile(code, "README.md", "exec"), {"__name__": "__main__"})


@pytest.mark.parametrize(
    "package",
    ["bundles", "gguf", "layers", "models-gemma", "models-llama", "models-openelm", "models-phi", "pytorch", "quant"],
)
def test_readmes_show_code(package: str):
    assert any(snippet.id.startswith(f"edgegen-{package}") for snippet in SNIPPETS)


@pytest.mark.parametrize("folder", sorted(p.parent for p in PACKAGES.glob("*/pyproject.toml")), ids=lambda p: p.name)
def test_the_changelog_begins_with_the_version_of_the_package(folder: Path):
    (version,) = re.findall(r'"(.+)"', next(folder.glob("src/*/_version.py")).read_text())
    assert re.findall(r"^## (.+)", (folder / "CHANGELOG.md").read_text(), re.MULTILINE)[0] == version
