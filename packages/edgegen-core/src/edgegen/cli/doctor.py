"""``edgegen doctor``: problems of the installation, each with its remedy."""

from __future__ import annotations

import os
import platform
import re
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgegen._version import __version__
from edgegen.cli.options import GroupedCommand, option
from edgegen.cli.output import Output, draw_table, format_bytes, output_options
from edgegen.errors import EdgegenError, ErrorCode, UsageError
from edgegen.plugins import Registry, load, registry
from edgegen.plugins.checks import references
from edgegen.plugins.records import CORE

if TYPE_CHECKING:
    from rich.console import Console


_SLOW = 1.0
"""Seconds that importing a plugin may take; core's and edgegen's own take a tenth."""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """A problem of the installation, and its remedy."""

    code: ErrorCode | str
    subject: str
    message: str
    remedy: str
    location: str = ""
    traceback: str = ""


@click.command(
    "doctor",
    cls=GroupedCommand,
    examples=[
        ("edgegen doctor", "Versions, plugins, and what is broken"),
        ("edgegen doctor --deep --json", "Also import every module that plugins refer to; for a bug report"),
    ],
)
@option(
    "--deep",
    is_flag=True,
    group="Checks",
    help="Also import every module that plugins refer to; takes seconds, as torch is among them.  [default: no]",
)
@output_options
def doctor(output: Output, deep: bool) -> int:
    """Check this installation: Python, libraries, plugins, threads and memory; explain each problem with its remedy.

    Ends with exit code 2 when a plugin is broken or a package that is needed is missing.
    """
    known = registry()
    dependencies = _dependencies(known)
    findings = [*_plugin_findings(known), *_missing(dependencies), *_unmet(known), *_slow(known)]
    overrides: list[str] = []
    if deep or any(each.distribution != CORE for each in known.lowering_rules.values()):
        overrides, conflicts = _rules()
        findings += conflicts
    if deep:
        findings += _unloadable(known)
    if not known.plugins:
        findings.append(_NOTHING_INSTALLED)
    report = {
        "healthy": not findings,
        "environment": _environment(),
        "dependencies": dependencies,
        "plugins": [
            {
                "name": plugin.name,
                "status": plugin.status,
                "package": plugin.distribution,
                "version": plugin.version,
                "heavy": plugin.heavy,
            }
            for plugin in known.plugins
        ],
        "overrides": overrides,
        "problems": findings,
    }
    output.result(report, lambda console: _draw(console, report))
    return UsageError.exit_code if findings else 0


_NOTHING_INSTALLED = Finding(
    code=ErrorCode.NO_PLUGINS,
    subject="edgegen-core",
    message="no plugin is installed, not even core's own, so there are no commands",
    remedy="install the package with pip rather than only putting it on the path: pip install edgegen-core",
)


def _plugin_findings(known: Registry) -> list[Finding]:
    return [
        Finding(
            code=problem.code,
            subject=problem.plugin.title,
            message=problem.message,
            remedy=problem.remedy,
            location=problem.location,
            traceback=problem.traceback,
        )
        for problem in known.problems
    ]


def _rules() -> tuple[list[str], list[Finding]]:
    """Operators whose lowering a plugin replaces on purpose, in words; and those for which two plugins are at odds."""
    try:
        from edgegen.compile import merged_rules

        rules, failed = merged_rules()
    except (EdgegenError, ImportError):  # what lowering needs is not installed
        return [], []
    findings = [
        Finding(code=error.code, subject=f"lowering rules of {owner}", message=error.message, remedy=error.hint or "")
        for owner, error in failed.items()
    ]
    replaced = []
    for each in rules.conflicts:
        if each.replaced:
            replaced.append(f"{each.operator}: {each.owners[0]} replaces the rule of {each.owners[1]}")
        else:
            findings.append(
                Finding(
                    code=ErrorCode.DUPLICATE_NAME,
                    subject=f"lowering rule for {each.operator}",
                    message=f"{' and '.join(each.owners)} both have one, and none is taken",
                    remedy="disable one of the two: EDGEGEN_DISABLED_PLUGINS=NAME",
                )
            )
    return replaced, findings


def _unmet(known: Registry) -> list[Finding]:
    """Requirements of plugins' packages whose installed version is another."""
    from packaging.requirements import InvalidRequirement, Requirement

    findings = []
    for package in sorted({plugin.distribution for plugin in known.plugins}):
        for line in _lines(package):
            try:
                requirement = Requirement(line)
            except InvalidRequirement:
                continue
            applies = requirement.marker is None or requirement.marker.evaluate({"extra": ""})
            version = _version(requirement.name) if applies else None
            if version is not None and not requirement.specifier.contains(version, prereleases=True):
                older = f"pip install --upgrade {requirement.name}, or another version of {package}"
                findings.append(
                    Finding(
                        code=ErrorCode.REQUIREMENT_UNMET,
                        subject=package,
                        message=f"it needs {requirement.name}{requirement.specifier}, and {version} is installed",
                        remedy=older,
                    )
                )
    return findings


def _slow(known: Registry) -> list[Finding]:
    """Plugins that slow every command down."""
    return [
        Finding(
            code=ErrorCode.PLUGIN_SLOW,
            subject=plugin.title,
            message=f"importing it takes {plugin.seconds:.1f} s, in every command",
            remedy="report it to the plugin's author: modules that hooks refer to are imported when they are needed",
        )
        for plugin in known.plugins
        if plugin.seconds > _SLOW
    ]


def _unloadable(known: Registry) -> list[Finding]:
    """References of descriptors that cannot be imported."""
    findings = []
    for kind, item in known.provided():
        for reference in references(item.descriptor):
            try:
                load(reference)
            except EdgegenError as error:
                findings.append(
                    Finding(
                        code=error.code,
                        subject=f"{kind} {item.descriptor.name} ({item.distribution} {item.version})",
                        message=" ".join((error.message, *error.details)),
                        remedy=error.hint or "report it to the plugin's author",
                    )
                )
    return findings


def _dependencies(known: Registry) -> list[dict[str, Any]]:
    """Requirements of the installed plugins' packages with their versions, and torch, which is optional."""
    packages = sorted({plugin.distribution for plugin in known.plugins})
    required: dict[str, str] = {}
    for package in packages:
        for requirement in _requires(package):
            required.setdefault(requirement, package)
    names = sorted(required.keys() | {"torch"})
    return [{"name": n, "version": _version(n), "required_by": required.get(n)} for n in names]


def _requires(package: str) -> list[str]:
    """Packages that ``package`` requires; those of extras and markers are left out."""
    lines = _lines(package)
    names = (re.match(r"[\w.-]+", line) for line in lines if ";" not in line)
    return [name[0].lower().replace("_", "-") for name in names if name]


def _lines(package: str) -> list[str]:
    """``Requires-Dist`` of a package."""
    try:
        return metadata.requires(package) or []
    except metadata.PackageNotFoundError:
        return []


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _missing(dependencies: list[dict[str, Any]]) -> list[Finding]:
    return [
        Finding(
            code=ErrorCode.REQUIREMENT_MISSING,
            subject=entry["required_by"],
            message=f"it needs {entry['name']}, which is not installed",
            remedy=f"pip install {entry['name']}",
        )
        for entry in dependencies
        if entry["required_by"] and entry["version"] is None
    ]


def _environment() -> dict[str, Any]:
    return {
        "edgegen": __version__,
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}",
        "threads": _threads(),
        "memory_bytes": _memory(),
    }


def _threads() -> int:
    """Number of threads that this process may use, in a container fewer than the machine has."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _memory() -> int | None:
    """Bytes of memory that this process may use: the machine's, or less where a container limits it."""
    try:
        total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):  # Windows has no sysconf
        return None
    for limit_file in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        try:
            total = min(total, int(Path(limit_file).read_text()))
        except (OSError, ValueError):  # no such file, or "max"
            continue
    return total


def _draw(console: Console, report: dict[str, Any]) -> None:
    environment = report["environment"]
    memory = environment["memory_bytes"]
    console.print(
        f"edgegen {environment['edgegen']}, Python {environment['python']}, {environment['platform']}, "
        f"{environment['threads']} threads, {format_bytes(memory) if memory else 'unknown'} of memory",
        soft_wrap=True,
    )
    console.print()
    dependencies = report["dependencies"]
    draw_table(console, ("dependency", "version", "needed by"), [_dependency_row(d) for d in dependencies])
    console.print()
    plugins = [(p["name"], p["status"], f"{p['package']} {p['version']}") for p in report["plugins"]]
    draw_table(console, ("plugin", "status", "package"), plugins)
    console.print()
    for plugin in report["plugins"]:
        if plugin["heavy"]:
            libraries = ", ".join(plugin["heavy"])
            console.print(
                f"slow: plugin {plugin['name']} imports {libraries} when it is loaded, so every command "
                "waits for that; its author can keep its module and the package around it light\n",
                soft_wrap=True,
            )
    for override in report["overrides"]:
        console.print(f"override: {override}\n", markup=False, soft_wrap=True)
    for finding in report["problems"]:
        _draw_finding(console, finding)
    count = len(report["problems"])
    console.print(f"{count} problem{'s' if count > 1 else ''} found" if count else "Everything is in order.")


def _dependency_row(entry: dict[str, Any]) -> tuple[str, str, str]:
    return entry["name"], entry["version"] or "not installed", entry["required_by"] or "export (optional)"


def _draw_finding(console: Console, finding: Finding) -> None:
    lines = [f"problem[{finding.code}]: {finding.subject}", f"  {finding.message}"]
    if finding.location:
        lines.append(f"  at {finding.location}")
    lines.append(f"hint: {finding.remedy}")
    console.print("\n".join(lines) + "\n", markup=False, soft_wrap=True)
