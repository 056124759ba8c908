"""Type checks of descriptors from plugins: dataclasses do not check their fields themselves."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import fields

from edgegen.descriptors import (
    TASKS,
    CheckpointFormat,
    Command,
    ErrorHint,
    ExportTarget,
    LayerImpl,
    LoweringRules,
    ModelFamily,
    Oracle,
    QuantScheme,
    Variant,
    WeightPass,
)

_REFERENCE = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*(\.[^\W\d]\w*)*")

REFERENCES: Mapping[type, tuple[str, ...]] = {
    LayerImpl: ("impl",),
    ModelFamily: ("config", "builder", "read_config", "config_for_context", "weight_maps"),
    CheckpointFormat: ("detect", "open"),
    QuantScheme: ("scheme",),
    ExportTarget: ("package", "check", "files", "contents"),
    LoweringRules: ("rules",),
    WeightPass: ("implementation",),
    Oracle: ("open",),
    Command: ("command",),
    ErrorHint: ("hint",),
}
"""Descriptor -> its fields that hold ``module:attr`` strings."""


def _strings(value: object) -> bool:
    return isinstance(value, tuple) and all(isinstance(item, str) for item in value)


def _string_map(value: object) -> bool:
    return isinstance(value, Mapping) and all(_strings((key, item)) for key, item in value.items())


def _string_tuples_map(value: object) -> bool:
    return isinstance(value, Mapping) and all(isinstance(key, str) and _strings(item) for key, item in value.items())


# Annotation, as descriptors.py spells it -> whether a value fits.
TYPES: Mapping[str, Callable[[object], bool]] = {
    "str": lambda value: isinstance(value, str),
    "int": lambda value: isinstance(value, int) and not isinstance(value, bool),
    "float": lambda value: isinstance(value, int | float) and not isinstance(value, bool),
    "str | None": lambda value: value is None or isinstance(value, str),
    "tuple[str, ...]": _strings,
    "Mapping[str, str]": _string_map,
    "Mapping[str, tuple[str, ...]]": _string_tuples_map,
    "tuple[Variant, ...]": lambda value: isinstance(value, tuple) and all(isinstance(item, Variant) for item in value),
}


def flaw(item: object, kind: type) -> str | None:
    """The flaw of ``item`` as a ``kind`` of descriptor, in words that follow its name; None if sound.

    Only the fields that ``kind`` declares are looked at, so a plugin may hand over a subclass with more.
    """
    if not isinstance(item, kind):
        return f"is {_named(type(item))}, expected {_named(kind)}"
    return _field_flaw(item, kind) or _reference_flaw(item, kind) or _tasks_flaw(item) or _variants_flaw(item)


def references(item: object) -> tuple[str, ...]:
    """The ``module:attr`` strings in a descriptor; a field that may be None need not have one."""
    found: list[str] = []
    for kind, names in REFERENCES.items():
        for name in names if isinstance(item, kind) else ():
            value = getattr(item, name)
            if value is not None:
                found += value.values() if isinstance(value, Mapping) else [value]
    return tuple(found)


def _field_flaw(item: object, kind: type) -> str | None:
    for field in fields(kind):
        annotation = str(field.type)
        value = getattr(item, field.name)
        if annotation in TYPES and not TYPES[annotation](value):
            return f"has {field.name} of type {_named(type(value))}, expected {annotation}"
    name = getattr(item, "name", None)
    if not name or name != name.strip():
        return f"has the name {name!r}, expected a word"
    return None


def _reference_flaw(item: object, kind: type) -> str | None:
    for reference in references(item):
        if not _REFERENCE.fullmatch(reference):
            return f"refers to {reference!r}, expected 'module:attr'"
    return None


def _tasks_flaw(item: object) -> str | None:
    stated = item.tasks if isinstance(item, ExportTarget) else [item.task] if isinstance(item, ModelFamily) else []
    unknown = [task for task in stated if task not in TASKS]
    return f"has the task {unknown[0]!r}, expected one of {', '.join(TASKS)}" if unknown else None


def _variants_flaw(item: object) -> str | None:
    for variant in getattr(item, "variants", ()):
        problem = _field_flaw(variant, Variant)
        if problem:
            return f"has a variant that {problem}"
    return None


def _named(kind: type) -> str:
    return kind.__name__
