"""Optional libraries that are missing: the ``pip install`` line for each, from what installed packages declare.

A package lists its optional libraries as extras (``Requires-Dist: torch; extra == "convert"``), so a plugin gets the
right hint for its own by declaring them; which libraries there are is not known here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib import metadata
from importlib.util import find_spec

from edgegen.errors import ErrorCode, UsageError
from edgegen.hookspecs import GROUP
from edgegen.plugins.records import CORE

_DISTRIBUTIONS = {
    "PIL": "pillow",
    "bs4": "beautifulsoup4",
    "cv2": "opencv-python",
    "dateutil": "python-dateutil",
    "google": "protobuf",
    "sklearn": "scikit-learn",
    "skimage": "scikit-image",
    "yaml": "pyyaml",
}
"""Distributions whose top-level module has another name. What is not installed cannot be asked for it."""

_REQUIREMENT = re.compile(r"\s*([\w.-]+)")
_EXTRA = re.compile(r"""extra\s*==\s*['"]([\w.-]+)['"]""")


def missing_dependency(error: BaseException, needed_by: str | None = None) -> UsageError | None:
    """The error that says which library is missing and how to install it.

    Args:
        error: an import that failed.
        needed_by: distribution whose code asked for the module; its own extras come first.

    Returns:
        None where ``error`` is something else, or a module of core itself is missing.
    """
    if not isinstance(error, ModuleNotFoundError) or not error.name:
        return None
    module = error.name.partition(".")[0]
    if module == "edgegen" or ("." in error.name and find_spec(module)):
        return None  # a file that a package itself lacks
    line = install_line(module, needed_by)
    return UsageError(
        f"this needs the library {module}, which is not installed",
        code=ErrorCode.DEPENDENCY_MISSING,
        details=[f"needed by   {needed_by}"] if needed_by else (),
        hint=line or f"install the Python package that provides {module!r}",
    )


def install_line(module: str, needed_by: str | None = None) -> str | None:
    """``pip install ...`` for a top-level module; None where no installed package declares what provides it."""
    wanted = _normalized(_DISTRIBUTIONS.get(module, module))
    declared = [(owner, extra) for owner, name, extra in _declared(needed_by) if name == wanted]
    if wanted.startswith("edgegen-"):
        return f"pip install {wanted}"
    if not declared:
        return None
    owner, extra = declared[0]
    return f"pip install '{owner}[{extra}]'" if extra else f"pip install {wanted}"


def _declared(first: str | None) -> Iterator[tuple[str, str, str | None]]:
    """(package, library, extra or None) of every requirement of packages with plugins: ``first``, core, others."""
    owners = {_normalized(point.dist.name) for point in metadata.entry_points(group=GROUP) if point.dist}
    for owner in sorted(owners | {CORE}, key=lambda name: (name != first, name != CORE, name)):
        try:
            lines = metadata.requires(owner) or []
        except metadata.PackageNotFoundError:
            continue
        for line in lines:
            name, extra = _REQUIREMENT.match(line), _EXTRA.search(line)
            if name:
                yield owner, _normalized(name[1]), extra[1] if extra else None


def _normalized(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
