"""Everything that plugins provide, by name."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Protocol, TypeVar

from edgegen.descriptors import (
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
from edgegen.errors import ErrorCode, UsageError
from edgegen.plugins import loading
from edgegen.plugins.checks import references
from edgegen.plugins.records import Plugin, Problem, Provided
from edgegen.suggest import closest

D = TypeVar("D")
K = TypeVar("K", str, tuple[str, str])


@dataclass(frozen=True, kw_only=True)
class Registry:
    """Read-only tables, name -> what is provided under it, in the order in which plugins are asked.

    Attributes:
        families: architectures.
        variants: variant name -> the family that has it.
        schemes: ``quant_schemes`` are also under their aliases.
        layers: by (block, name).
        plugins: all entry points, sound or not.
        problems: everything that was refused, with remedies.
    """

    families: Mapping[str, Provided[ModelFamily]]
    variants: Mapping[str, Provided[ModelFamily]]
    checkpoint_formats: Mapping[str, Provided[CheckpointFormat]]
    quant_schemes: Mapping[str, Provided[QuantScheme]]
    export_targets: Mapping[str, Provided[ExportTarget]]
    layers: Mapping[tuple[str, str], Provided[LayerImpl]]
    lowering_rules: Mapping[str, Provided[LoweringRules]]
    weight_passes: Mapping[str, Provided[WeightPass]]
    oracles: Mapping[str, Provided[Oracle]]
    commands: Mapping[str, Provided[Command]]
    error_hints: Mapping[str, Provided[ErrorHint]]
    plugins: tuple[Plugin, ...]
    problems: tuple[Problem, ...]

    def variant(self, name: str) -> tuple[ModelFamily, Variant]:
        """The family that has the variant, and its row. Raises UsageError with the closest name."""
        family = self._find("model", name, self.variants, "edgegen list-models")
        return family, next(row for row in family.variants if row.name == name)

    def family(self, name: str) -> ModelFamily:
        """An architecture. Raises UsageError with the closest name."""
        return self._find("model family", name, self.families, "edgegen list-models")

    def checkpoint_format(self, name: str) -> CheckpointFormat:
        """A container of weights. Raises UsageError with the closest name."""
        return self._find("checkpoint format", name, self.checkpoint_formats, "edgegen list-plugins")

    def scheme(self, name: str) -> QuantScheme:
        """A quantization scheme, by name or alias. Raises UsageError with the closest name."""
        return self._find("quantization scheme", name, self.quant_schemes, "edgegen list-plugins")

    def target(self, name: str) -> ExportTarget:
        """An export target. Raises UsageError with the closest name."""
        return self._find("export target", name, self.export_targets, "edgegen list-plugins")

    def weight_pass(self, name: str) -> WeightPass:
        """A pass over weights. Raises UsageError with the closest name."""
        return self._find("weight pass", name, self.weight_passes, "edgegen list-plugins")

    def oracle(self, name: str) -> Oracle:
        """Another implementation of models. Raises UsageError with the closest name."""
        return self._find("oracle", name, self.oracles, "edgegen list-plugins")

    def layer(self, block: str, name: str) -> LayerImpl:
        """An implementation of a building block. Raises UsageError with the closest name."""
        blocks: dict[str, dict[str, Provided[LayerImpl]]] = {}
        for key, provided in self.layers.items():
            blocks.setdefault(key[0], {})[key[1]] = provided
        if block not in blocks:
            raise self._unknown("building block", block, blocks, "edgegen list-plugins")
        return self._find(f"implementation of {block}", name, blocks[block], "edgegen list-plugins")

    def provided(self) -> Iterator[tuple[str, Provided[Any]]]:
        """Everything once, each with the word for its kind."""
        tables: dict[str, Iterable[Provided[Any]]] = {
            "model family": self.families.values(),
            "checkpoint format": self.checkpoint_formats.values(),
            "quantization scheme": [item for name, item in self.quant_schemes.items() if name == item.descriptor.name],
            "export target": self.export_targets.values(),
            "layer": self.layers.values(),
            "lowering rules": self.lowering_rules.values(),
            "weight pass": self.weight_passes.values(),
            "oracle": self.oracles.values(),
            "command": self.commands.values(),
            "error hint": self.error_hints.values(),
        }
        return ((kind, item) for kind, items in tables.items() for item in items)

    def owner(self, reference: str) -> Provided[Any] | None:
        """The descriptor that holds the ``module:attr`` string, with its plugin."""
        return next((item for _, item in self.provided() if reference in references(item.descriptor)), None)

    def _find(self, noun: str, name: str, table: Mapping[str, Provided[D]], listing: str) -> D:
        if name not in table:
            raise self._unknown(noun, name, table, listing)
        return table[name].descriptor

    def _unknown(self, noun: str, name: str, known: Iterable[str], listing: str) -> UsageError:
        names = list(known)
        broken = [plugin.name for plugin in self.plugins if plugin.status == "broken"]
        details = [f"available   {', '.join(names) or 'none'}"]
        if broken:
            details.append(f"broken      {', '.join(broken)}: what they provide may be missing (edgegen doctor)")
        meant = closest(name, names)
        hint = f"did you mean {meant}?" if meant else f"{listing} shows what is installed"
        return UsageError(f"there is no {noun} named {name!r}", code=ErrorCode.UNKNOWN_NAME, details=details, hint=hint)


@functools.cache
def registry() -> Registry:
    """The registry of installed plugins, made once a process (``registry.cache_clear()`` forgets it).

    Raises:
        PluginError: a plugin is at fault and ``EDGEGEN_STRICT=1`` is set.
    """
    loader = loading.Loader(disabled=loading.disabled(), strict=loading.strict())
    families = _table(loader, "edgegen_model_families", ModelFamily, _name)
    return Registry(
        families=families,
        variants=_variants(loader, families),
        checkpoint_formats=_table(loader, "edgegen_checkpoint_formats", CheckpointFormat, _name),
        quant_schemes=_table(loader, "edgegen_quant_schemes", QuantScheme, _scheme_names),
        export_targets=_table(loader, "edgegen_export_targets", ExportTarget, _name),
        layers=_table(loader, "edgegen_layers", LayerImpl, lambda layer: [(layer.block, layer.name)]),
        lowering_rules=_table(loader, "edgegen_op_lowerings", LoweringRules, _name),
        weight_passes=_table(loader, "edgegen_weight_passes", WeightPass, _name),
        oracles=_table(loader, "edgegen_oracles", Oracle, _name),
        commands=_table(loader, "edgegen_commands", Command, _name),
        error_hints=_table(loader, "edgegen_error_hints", ErrorHint, _name),
        # Last, because collecting is what finds the problems.
        plugins=loader.plugins,
        problems=tuple(loader.problems),
    )


class _Named(Protocol):
    @property
    def name(self) -> str: ...


def _name(item: _Named) -> list[str]:
    return [item.name]


def _scheme_names(scheme: QuantScheme) -> list[str]:
    return [scheme.name, *scheme.aliases]


def _table(loader: loading.Loader, hook: str, kind: type[D], names: Callable[[D], list[K]]) -> Mapping[K, Provided[D]]:
    """Collect a hook into a table.

    The first name of an item is its own: where that is taken the item is refused; where one of the others is,
    only that alias is.
    """
    table: dict[K, Provided[D]] = {}
    for provided in loader.collect(hook, kind):
        for name in dict.fromkeys(names(provided.descriptor)):
            if name not in table:
                table[name] = provided
                continue
            _refuse_duplicate(loader, kind.__name__, name, first=table[name], later=provided)
            if name == names(provided.descriptor)[0]:
                break
    return MappingProxyType(table)


def _variants(
    loader: loading.Loader, families: Mapping[str, Provided[ModelFamily]]
) -> Mapping[str, Provided[ModelFamily]]:
    table: dict[str, Provided[ModelFamily]] = {}
    for provided in families.values():
        for variant in provided.descriptor.variants:
            if variant.name in table:
                _refuse_duplicate(loader, "Variant", variant.name, first=table[variant.name], later=provided)
            else:
                table[variant.name] = provided
    return MappingProxyType(table)


def _refuse_duplicate(
    loader: loading.Loader, kind: str, name: object, *, first: Provided[Any], later: Provided[Any]
) -> None:
    loader.report(
        ErrorCode.DUPLICATE_NAME,
        loader.plugin(later),
        f"{kind} {name!r} of {later.distribution} is refused: {first.distribution} has that name already",
        f"uninstall {first.distribution} or {later.distribution}, or disable one: "
        f"EDGEGEN_DISABLED_PLUGINS={later.plugin}",
    )
