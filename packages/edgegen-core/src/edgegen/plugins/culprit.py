"""The plugin that an exception comes from, by the modules of its traceback."""

from __future__ import annotations

from collections.abc import Iterable
from importlib import metadata
from types import TracebackType

from edgegen.plugins.records import Plugin


def plugin_of(error: BaseException, plugins: Iterable[Plugin]) -> Plugin | None:
    """The plugin whose code raised ``error``, or called the library that did; None for core's own code.

    Args:
        error: as caught, with its traceback.
        plugins: all that are installed, see :attr:`edgegen.plugins.Registry.plugins`.
    """
    owners = {plugin.module.partition(".")[0]: plugin for plugin in plugins}
    by_distribution = {plugin.distribution: plugin for plugin in owners.values()}
    packages = None
    for module in reversed(_modules(error.__traceback__)):
        if module not in owners:
            # A distribution may bring packages beside the one that its entry point names.
            packages = metadata.packages_distributions() if packages is None else packages
            names = (name.lower().replace("_", "-") for name in packages.get(module, ()))
            owner = next((by_distribution[name] for name in names if name in by_distribution), None)
        else:
            owner = owners[module]
        if owner is not None:
            return None if module == "edgegen" else owner
    return None


def _modules(traceback: TracebackType | None) -> list[str]:
    """Top-level packages of the frames, the innermost last."""
    found: list[str] = []
    while traceback is not None:
        found.append(str(traceback.tb_frame.f_globals.get("__name__", "")).partition(".")[0])
        traceback = traceback.tb_next
    return found
