"""Plugins: installed ones, what they provide, and their problems.

A plugin is a module named by an entry point in the group ``edgegen`` that implements hooks of
:mod:`edgegen.hookspecs`. Nothing that a plugin does wrong stops the program: it is refused in pieces, and
the reasons are in ``registry().problems``::

    from edgegen.plugins import load, registry

    family, variant = registry().variant("smollm2-135m")
    build = load(family.builder)

Environment:
    ``EDGEGEN_DISABLED_PLUGINS``: names of entry points, comma separated, that are not loaded.
    ``EDGEGEN_STRICT=1``: the first problem is raised instead of collected, with its traceback.
"""

from __future__ import annotations

from edgegen.plugins.records import Plugin, Problem, Provided
from edgegen.plugins.references import load
from edgegen.plugins.registry import Registry, registry

__all__ = ["Plugin", "Problem", "Provided", "Registry", "load", "registry"]
