"""What names a repository, and what does not."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgegen.errors import UsageError
from edgegen_huggingface.hub.reference import Reference, detect, parse


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("org/name", Reference("org/name")),
        ("org/name@v1.0", Reference("org/name", "v1.0")),
        ("hf:org/name", Reference("org/name")),
        ("hf:/org/name", Reference("org/name")),
        (
            "hf:Org-1/na_me.2@main/Q4/m-00001-of-00002.gguf",
            Reference("Org-1/na_me.2", "main", "Q4/m-00001-of-00002.gguf"),
        ),
        ("hf:org/name/m.gguf", Reference("org/name", None, "m.gguf")),
        ("hf:org/name@refs/pr/3", Reference("org/name", "refs/pr/3")),
        ("hf:org/name@refs/pr/3/m.gguf", Reference("org/name", "refs/pr/3", "m.gguf")),
    ],
)
def test_a_reference_is_taken_apart(text: str, expected: Reference) -> None:
    assert parse(text) == expected
    assert parse(str(Path(text))) == expected


def test_a_url_like_prefix_survives_being_a_path() -> None:
    path = Path("hf://org/name")
    assert detect(path)
    assert parse(path.as_posix()) == Reference("org/name")


@pytest.mark.parametrize(
    "text",
    ["name", "hf:name", "a/b@", "a--b/name", "org/na..me", "org/name.git", "org/na me", "-org/name", f"org/{'x' * 96}"],
)
def test_what_names_no_repository_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(UsageError, match="names no repository") as caught:
        parse(text)
    assert "hf:org/name" in str(caught.value.hint)


def test_a_path_that_leads_out_of_the_repository_is_refused() -> None:
    with pytest.raises(UsageError, match="leads out"):
        parse("hf:org/name/../../x.gguf")


@pytest.mark.parametrize("text", ["org/name", "org/name@main", "hf:whatever"])
def test_references_are_detected(text: str) -> None:
    assert detect(Path(text))


@pytest.mark.parametrize(
    "text",
    [
        "name",
        "a/b/c",
        "org/name/m.gguf",
        "../name",
        "~/name",
        "/org/name",
        "models/m.gguf",
        "m/m.safetensors",
        "x" * 5000,
    ],
)
def test_paths_are_left_to_others(text: str) -> None:
    assert not detect(Path(text))


def test_what_exists_is_a_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("org/name", "hf:org/name"):
        Path(name).mkdir(parents=True)
        assert not detect(Path(name))
