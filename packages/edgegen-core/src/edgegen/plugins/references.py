"""Resolving the ``module:attr`` strings of descriptors at the moment that the part is used."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from edgegen.errors import EdgegenError, PluginError


def load(reference: str) -> Any:
    """Import what a descriptor refers to.

    Args:
        reference: ``module:attr``; the attribute may be dotted.

    Raises:
        PluginError: the module or the attribute does not exist, or importing it failed; names the plugin.
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
        raise PluginError(
            f"cannot load {reference!r} of {_owner(reference)}",
            code="EG117",
            details=(f"{type(error).__name__}: {error}",),
            hint=_remedy(error, module_name),
        ) from error
    return found


def _owner(reference: str) -> str:
    from edgegen.plugins.registry import registry

    owner = registry().owner(reference)
    return f"plugin {owner.plugin} ({owner.distribution} {owner.version})" if owner else "no known plugin"


def _remedy(error: BaseException, module_name: str) -> str:
    missing = error.name if isinstance(error, ModuleNotFoundError) else None
    if missing and missing.partition(".")[0] == "torch":
        return "this step needs PyTorch: pip install 'edgegen-core[convert]'"
    if missing and not f"{module_name}.".startswith(f"{missing}."):
        return f"install the Python package that provides {missing.partition('.')[0]!r}"
    return "report it to the plugin's author; EDGEGEN_STRICT=1 shows the traceback"
