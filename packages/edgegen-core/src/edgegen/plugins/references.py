"""Resolving the ``module:attr`` strings of descriptors at the moment that the part is used."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from edgegen.errors import EdgegenError, ErrorCode, PluginError


def load(reference: str) -> Any:
    """Import what a descriptor refers to.

    Args:
        reference: ``module:attr``; the attribute may be dotted.

    Raises:
        PluginError: the module or the attribute does not exist, or importing it failed; names the plugin.
        UsageError: it needs a library that is not installed (code ``DEPENDENCY_MISSING``).
        EdgegenError: whatever of that kind the module itself raised.
    """
    module_name, _, attribute = reference.partition(":")
    try:
        found: Any = import_module(module_name)
        for part in attribute.split("."):
            found = getattr(found, part)
    except (EdgegenError, MemoryError):
        raise
    except (Exception, SystemExit) as error:
        from edgegen.plugins.dependencies import missing_dependency

        missing = missing_dependency(error, _distribution(reference))
        if missing and not f"{module_name}.".startswith(f"{getattr(error, 'name', '')}."):
            raise missing from error
        raise PluginError(
            f"cannot load {reference!r} of {_owner(reference)}",
            code=ErrorCode.REFERENCE_NOT_LOADABLE,
            details=(f"{type(error).__name__}: {error}",),
            hint="report it to the plugin's author; EDGEGEN_STRICT=1 shows the traceback",
        ) from error
    return found


def _owner(reference: str) -> str:
    from edgegen.plugins.registry import registry

    owner = registry().owner(reference)
    return f"plugin {owner.plugin} ({owner.distribution} {owner.version})" if owner else "no known plugin"


def _distribution(reference: str) -> str | None:
    from edgegen.plugins.registry import registry

    owner = registry().owner(reference)
    return owner.distribution if owner else None
