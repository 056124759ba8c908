"""The page of error codes says what the sources say."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgegen.errors import EdgegenError, ErrorCode
from edgegen.testing.error_reference import PAGE, Raiser, flaws, meanings, page, raisers

ROOT = Path(__file__).parents[3]
pytestmark = pytest.mark.skipif(not (ROOT / PAGE).is_file(), reason="the documentation is not part of the wheel")


def test_the_page_is_up_to_date() -> None:
    stale = "python -m edgegen.testing.error_reference --write brings the page up to date"
    assert (ROOT / PAGE).read_text(encoding="utf-8") == page(raisers(ROOT)), stale


def test_every_raiser_passes_a_code_of_its_own_meaning() -> None:
    assert flaws(raisers(ROOT)) == []


def test_every_code_says_what_happened_and_what_to_do() -> None:
    texts = meanings()
    assert texts.keys() == set(ErrorCode)
    assert all(text.count(". ") >= 1 and text.endswith(".") for text in texts.values()), texts
    assert len(set(texts.values())) == len(texts)


def written(tmp_path: Path, source: str) -> list[Raiser]:
    file = tmp_path / "packages" / "edgegen-acme" / "src" / "acme.py"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(source)
    return raisers(tmp_path)


@pytest.mark.parametrize(
    ("source", "flaw"),
    [
        ("raise UsageError('x')", "UsageError without a code"),
        ("raise UsageError('x', code='EG101')", "code='EG101' is no member of ErrorCode"),
        ("raise UsageError('x', code=ErrorCode.NOPE)", "code=ErrorCode.NOPE is no member of ErrorCode"),
        ("report(ErrorCode.NOPE)", "ErrorCode has no NOPE"),
        (
            "UsageError('x', code=ErrorCode.NO_LOWERING)\nUnsupportedError('y', code=ErrorCode.NO_LOWERING)",
            "NO_LOWERING is raised with exit codes [2, 3]: it has two meanings",
        ),
    ],
)
def test_a_raiser_that_breaks_a_rule_is_found(source: str, flaw: str, tmp_path: Path) -> None:
    found = flaws(written(tmp_path, source))
    assert found
    assert all(line.endswith(flaw) for line in found)


def test_a_code_that_is_passed_on_is_none_of_the_raisers(tmp_path: Path) -> None:
    source = "def f(code, error):\n    UsageError('x', code=code)\n    Finding(code=error.code)"
    assert not flaws(written(tmp_path, source))


def test_codes_compare_and_print_as_text() -> None:
    error = EdgegenError("x", code=ErrorCode.WEIGHTS_MISMATCH)
    assert error.code == "EG204"
    assert f"[{error.code}]" == "[EG204]"
    assert ErrorCode("EG204") is ErrorCode.WEIGHTS_MISMATCH
