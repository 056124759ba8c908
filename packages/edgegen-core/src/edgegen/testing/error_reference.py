"""The page of all error codes, and the rules that raisers obey; both read the sources and import nothing of them.

::

    python -m edgegen.testing.error_reference            # rules only; exit code 1 where one is broken
    python -m edgegen.testing.error_reference --write    # write docs/reference/errors.md as well

Rules: whoever raises an :class:`~edgegen.errors.EdgegenError` passes a ``code``, it is a member of
:class:`~edgegen.errors.ErrorCode`, and all who pass one code raise it with one exit code.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

from edgegen import errors
from edgegen.cli.failures import INTERRUPTED
from edgegen.errors import EdgegenError, ErrorCode

PAGE = Path("docs", "reference", "errors.md")

_CLASSES: dict[str, type[EdgegenError]] = {
    name: kind for name, kind in vars(errors).items() if isinstance(kind, type) and issubclass(kind, EdgegenError)
}
_RECORDS = {"Finding": 2, "Problem": 2}
"""Records of ``edgegen doctor``, which carry codes as errors do -> the exit code that it ends with."""
_PASSED_ON = ("code", "error.code", "problem.code")
"""Variables that hold the code of another error."""

_HEAD = """\
# Errors

<!-- Written by: python -m edgegen.testing.error_reference --write -->

Every error has a stable code, `error[EG204]` on the terminal and `error.code` in JSON and in Python
(`edgegen.errors.ErrorCode.WEIGHTS_MISMATCH`). A code has one meaning and one exit code; messages may be reworded at
any time, so programs branch on codes. The exit codes are those of the [command line](cli.md).

| code | name | what happened, and what to do | exit | raised by |
| --- | --- | --- | --- | --- |
"""


@dataclass(frozen=True)
class Raiser:
    """A place that makes an error.

    Attributes:
        code: name of the member of :class:`ErrorCode`, or None where the class's own is used.
        exit_code: of the error's class; None where the place only mentions the code.
        flaw: which rule it breaks, or empty.
    """

    file: Path
    line: int
    code: str | None
    exit_code: int | None = None
    flaw: str = ""

    @property
    def package(self) -> str:
        """Distribution that the file belongs to."""
        return self.file.parts[self.file.parts.index("packages") + 1]


@dataclass
class _Found:
    exit_codes: set[int] = field(default_factory=set)
    packages: set[str] = field(default_factory=set)


def raisers(root: Path) -> list[Raiser]:
    """All places in the sources of ``root``'s packages that make an error or mention a code."""
    files = sorted(root.glob("packages/*/src/**/*.py"))
    skipped = {Path(errors.__file__).name}
    return [
        raiser
        for file in files
        if file.name not in skipped and "testing" not in file.parts
        for raiser in _raisers_in(file.relative_to(root), ast.parse(file.read_text(encoding="utf-8")))
    ]


def flaws(found: Iterable[Raiser]) -> list[str]:
    """One line for each broken rule."""
    found = list(found)
    lines = [f"{raiser.file}:{raiser.line}: {raiser.flaw}" for raiser in found if raiser.flaw]
    for code, use in sorted(_by_code(found).items()):
        if len(use.exit_codes) > 1:
            lines.append(f"{code} is raised with exit codes {sorted(use.exit_codes)}: it has two meanings")
    return lines


def page(found: Iterable[Raiser]) -> str:
    """``docs/reference/errors.md``."""
    uses = _by_code(found)
    rows = []
    for code, meaning in sorted(meanings().items(), key=lambda item: item[0].value):
        use = uses.get(code.name, _Found())
        codes = {INTERRUPTED} if code is ErrorCode.INTERRUPTED else use.exit_codes or _default_exit_codes(code)
        exits = ", ".join(map(str, sorted(codes))) or "-"
        rows.append(f"| `{code}` | `{code.name}` | {meaning} | {exits} | {', '.join(sorted(use.packages)) or '-'} |")
    return _HEAD + "\n".join(rows) + "\n"


def meanings() -> dict[ErrorCode, str]:
    """Each code with the text below it in the source, as Markdown."""
    tree = ast.parse(Path(errors.__file__).read_text(encoding="utf-8"))
    body = next(node.body for node in tree.body if isinstance(node, ast.ClassDef) and node.name == ErrorCode.__name__)
    found = {}
    for member, text in pairwise(body):
        if isinstance(member, ast.Assign) and isinstance(member.targets[0], ast.Name):
            documented = isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant)
            words = str(text.value.value) if documented else ""  # type: ignore[attr-defined]
            found[ErrorCode[member.targets[0].id]] = " ".join(words.replace("``", "`").replace("|", "\\|").split())
    return found


def _default_exit_codes(code: ErrorCode) -> set[int]:
    return {kind.exit_code for kind in _CLASSES.values() if kind.default_code == code}


def _by_code(found: Iterable[Raiser]) -> dict[str, _Found]:
    uses: dict[str, _Found] = {}
    for raiser in found:
        if raiser.code:
            use = uses.setdefault(raiser.code, _Found())
            use.packages.add(raiser.package)
            use.exit_codes |= {raiser.exit_code} - {None}  # type: ignore[arg-type]
    return uses


def _raisers_in(file: Path, tree: ast.Module) -> Iterator[Raiser]:
    raised: set[ast.AST] = set()
    for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
        name = call.func.id if isinstance(call.func, ast.Name) else getattr(call.func, "attr", "")
        if name not in _CLASSES and name not in _RECORDS:
            continue
        exit_code = _RECORDS[name] if name in _RECORDS else _CLASSES[name].exit_code
        code = next((keyword.value for keyword in call.keywords if keyword.arg == "code"), None)
        if code is None:
            yield Raiser(file, call.lineno, None, exit_code, f"{name} without a code")
        elif ast.unparse(code) not in _PASSED_ON:
            for choice in (code.body, code.orelse) if isinstance(code, ast.IfExp) else (code,):
                member = _member(choice)
                flaw = "" if member else f"code={ast.unparse(choice)} is no member of ErrorCode"
                raised.add(choice)
                yield Raiser(file, call.lineno, member, exit_code, flaw)
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and node not in raised and ast.unparse(node.value) == "ErrorCode":
            flaw = "" if node.attr in ErrorCode.__members__ else f"ErrorCode has no {node.attr}"
            yield Raiser(file, node.lineno, None if flaw else node.attr, None, flaw)


def _member(node: ast.expr) -> str | None:
    known = isinstance(node, ast.Attribute) and ast.unparse(node.value) == "ErrorCode"
    return node.attr if known and node.attr in ErrorCode.__members__ else None  # type: ignore[attr-defined]


def main(arguments: list[str]) -> int:
    """Check the rules below the current folder, and write the page where asked to."""
    root = Path.cwd()
    found = raisers(root)
    if "--write" in arguments:
        (root / PAGE).write_text(page(found), encoding="utf-8")
    broken = flaws(found)
    print("\n".join([*broken, f"{len(meanings())} codes, {len(found)} uses, {len(broken)} broken rules"]))
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
