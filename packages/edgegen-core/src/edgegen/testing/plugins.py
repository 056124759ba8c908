"""Plugins for tests: distributions made of a few lines of source, found through entry points as if installed.

::

    def test_my_command_is_listed(tmp_path):
        make_distribution(tmp_path, "edgegen-hello", SOURCE)
        with installed(tmp_path):
            assert "hello" in registry().commands

For another process, put the folder on ``PYTHONPATH``: ``subprocess.run(..., env=environment(tmp_path))``.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path

from edgegen.hookspecs import GROUP
from edgegen.plugins import registry

DISABLED = "EDGEGEN_DISABLED_PLUGINS"


def make_distribution(
    folder: Path,
    name: str,
    source: str,
    *,
    version: str = "1.0",
    entry_point: str | None = None,
    files: Mapping[str, str] | None = None,
) -> Path:
    """Write a distribution with one plugin, as an installer would leave it.

    Args:
        folder: where packages are imported from; several distributions may share it.
        name: of the distribution, e.g. ``edgegen-hello``; the plugin's module is ``edgegen_hello``.
        source: of the plugin's module.
        version: of the distribution.
        entry_point: its name; the distribution's without ``edgegen-`` unless told.
        files: further files, path below ``folder`` -> text.

    Returns:
        The plugin's module file.
    """
    stem = name.replace("-", "_")
    module = folder / f"{stem}.py"
    information = folder / f"{stem}-{version}.dist-info"
    plugin = entry_point or name.removeprefix("edgegen-")
    texts = {
        module: source,
        information / "METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        information / "entry_points.txt": f"[{GROUP}]\n{plugin} = {stem}\n",
        **{folder / path: text for path, text in (files or {}).items()},
    }
    for path, text in texts.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return module


@contextmanager
def installed(*folders: Path, alone: bool = False) -> Iterator[None]:
    """Let this process find the distributions in ``folders``, and forget them and their modules afterwards.

    Args:
        folders: as given to :func:`make_distribution`.
        alone: leave out the plugins of all other packages but core's, whatever the machine has installed.
    """
    paths = [str(folder) for folder in folders]
    before = os.environ.get(DISABLED)
    if alone:
        os.environ[DISABLED] = _others()
    sys.path[:0] = paths
    _forget()
    try:
        yield
    finally:
        if before is None:
            os.environ.pop(DISABLED, None)
        else:
            os.environ[DISABLED] = before
        for path in paths:
            sys.path.remove(path)
        for name, module in list(sys.modules.items()):
            if str(getattr(module, "__file__", None) or "").startswith(tuple(p + os.sep for p in paths)):
                del sys.modules[name]
        _forget()


def environment(*folders: Path, alone: bool = False, **variables: str) -> dict[str, str]:
    """Environment of a process that finds the distributions in ``folders``, with ``variables`` set.

    Args:
        folders: as given to :func:`make_distribution`.
        alone: leave out the plugins of all other packages but core's.
        variables: further environment variables.
    """
    inherited = os.environ.get("PYTHONPATH")
    paths = [*map(str, folders), *([inherited] if inherited else [])]
    disabled = {DISABLED: _others()} if alone else {}
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths), **disabled, **variables}


def _others() -> str:
    """Names of the entry points that are installed now, without core's."""
    names = (point.name for point in metadata.entry_points(group=GROUP) if point.value != "edgegen.builtin")
    return ",".join(sorted(names))


def _forget() -> None:
    importlib.invalidate_caches()
    registry.cache_clear()
