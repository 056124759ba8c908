"""Circular imports within each package: ``python tests/circular_imports.py`` ends with 1 where there are some.

Edges are imports at module level and below ``TYPE_CHECKING``: those must form no ring. Imports inside functions are
counted apart, with the rings that they would close: they are how heavy libraries stay out of a command's start, and
no way around a ring.
"""

from __future__ import annotations

import ast
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

Graph = Mapping[str, set[str]]


def modules(source: Path) -> dict[str, Path]:
    """Dotted name -> file, of every module below a ``src`` folder."""
    found = {}
    for file in sorted(source.rglob("*.py")):
        parts = file.relative_to(source).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = file
    return found


def imports(name: str, file: Path, known: Mapping[str, Path]) -> tuple[set[str], set[str]]:
    """Modules of ``known`` that a module imports: at its top level or for types, and inside functions."""
    early: set[str] = set()
    late: set[str] = set()
    for node, inside in _statements(ast.parse(file.read_text(encoding="utf-8")), inside=False):
        targets = {alias.name for alias in node.names}
        if isinstance(node, ast.ImportFrom):
            package = name if file.name == "__init__.py" else name.rpartition(".")[0]
            for _ in range(node.level - 1):
                package = package.rpartition(".")[0]
            base = ".".join(filter(None, (package if node.level else "", node.module or "")))
            # "from a.b import c" needs the module a.b.c where there is one, and a.b otherwise.
            targets = {f"{base}.{target}" if f"{base}.{target}" in known else base for target in targets}
        (late if inside else early).update(target for target in targets if target in known)
    return early, late - early


def _statements(node: ast.AST, *, inside: bool) -> Iterator[tuple[ast.Import | ast.ImportFrom, bool]]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import | ast.ImportFrom):
            yield child, inside
        else:
            function = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
            yield from _statements(child, inside=inside or function)


def rings(graph: Graph) -> list[list[str]]:
    """Groups of modules that import each other, by Tarjan's algorithm; each as a path that ends where it begins."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found: list[list[str]] = []

    def visit(node: str) -> None:
        index[node] = low[node] = len(index)
        stack.append(node)
        for target in sorted(graph[node]):
            if target not in index:
                visit(target)
                low[node] = min(low[node], low[target])
            elif target in stack:
                low[node] = min(low[node], index[target])
        if low[node] == index[node]:
            group = set(stack[stack.index(node) :])
            del stack[stack.index(node) :]
            if len(group) > 1 or node in graph[node]:
                found.append(_path(graph, group))

    for node in sorted(graph):
        if node not in index:
            visit(node)
    return found


def _path(graph: Graph, group: set[str]) -> list[str]:
    """A shortest ring within a group of modules that reach each other."""
    start = min(group)
    before: dict[str, str] = {}
    queue = [start]
    for node in queue:
        for target in sorted(graph[node] & group):
            if target == start:
                path = [start, node]
                while path[-1] != start:
                    path.append(before[path[-1]])
                return path[::-1]
            if target not in before:
                before[target] = node
                queue.append(target)
    raise AssertionError(group)


def main() -> int:
    """Print the rings of every package, and their number."""
    count = total = closed_late = 0
    for source in sorted(ROOT.glob("packages/*/src")):
        known = modules(source)
        total += len(known)
        early: dict[str, set[str]] = {}
        every: dict[str, set[str]] = defaultdict(set)
        for name, file in known.items():
            early[name], late = imports(name, file, known)
            every[name] = early[name] | late
        found = rings(early)
        count += len(found)
        closed_late += len(rings(every)) - len(found)
        for ring in found:
            print(f"{source.parent.name}: {' -> '.join(ring)}")
    print(f"{count} circular imports in {total} modules ({closed_late} more if imports inside functions counted)")
    return 1 if count else 0


if __name__ == "__main__":
    sys.exit(main())
