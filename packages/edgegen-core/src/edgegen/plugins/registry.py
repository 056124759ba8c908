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
from edgegen.plugins.records import CORE, Plugin, Problem, Provided
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
        return family, next(row for row in family.variants if row.name == bare(name))

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
            "quantization scheme": _each(self.quant_schemes),
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
        rivals = [each for each in names if bare(each) == name]
        if rivals:
            return UsageError(
                f"the {noun} {name!r} is claimed by {len(rivals)} packages",
                code=ErrorCode.DUPLICATE_NAME,
                hint=f"say whose: {' or '.join(rivals)}",
            )
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
    """Collect a hook into a table, see :func:`_claimed`."""
    claims: dict[K, list[tuple[Provided[D], bool]]] = {}
    for provided in loader.collect(hook, kind):
        own, *aliases = names(provided.descriptor)
        for name in dict.fromkeys([own, *aliases]):
            claims.setdefault(name, []).append((provided, name == own))
    return _claimed(loader, kind.__name__, claims)


def _each(table: Mapping[str, Provided[D]]) -> Iterable[Provided[D]]:
    """What is in a table, once each."""
    return {id(provided): provided for provided in table.values()}.values()


def _variants(
    loader: loading.Loader, families: Mapping[str, Provided[ModelFamily]]
) -> Mapping[str, Provided[ModelFamily]]:
    claims: dict[str, list[tuple[Provided[ModelFamily], bool]]] = {}
    for provided in _each(families):
        for variant in provided.descriptor.variants:
            claims.setdefault(variant.name, []).append((provided, True))
    return _claimed(loader, "Variant", claims)


def _claimed(
    loader: loading.Loader, kind: str, claims: Mapping[K, list[tuple[Provided[D], bool]]]
) -> Mapping[K, Provided[D]]:
    """Name -> who has it.

    A name is its only claimant's. Core's own are reserved; a name of an item's own comes before an alias of another's;
    and of two in one package the first has it. What two packages claim is neither's: it is ``package:name`` of each.

    Args:
        loader: takes what is refused.
        kind: of descriptor, for messages.
        claims: name -> each item that claims it, and whether it is its own name rather than an alias.
    """
    table: dict[K, Provided[D]] = {}
    for name, claimants in claims.items():
        own = [provided for provided, is_own in claimants if is_own]
        rivals = own or [provided for provided, _ in claimants]
        first = next((each for each in rivals if each.distribution == CORE), rivals[0])
        packages = dict.fromkeys(each.distribution for each in rivals)
        if len(packages) == 1 or first.distribution == CORE:
            table[name] = first
            for provided, _ in claimants:
                if provided is not first:
                    _refuse_duplicate(loader, kind, name, first=first, later=provided)
            continue
        for provided in rivals:
            table.setdefault(qualified(provided.distribution, name), provided)
        for package in packages:
            _refuse_ambiguous(loader, kind, name, next(p for p in rivals if p.distribution == package), list(packages))
    return MappingProxyType(table)


def qualified(package: str, name: Any) -> Any:
    """The name with its package: ``edgegen-acme:gemma3-270m``; of a layer, the implementation's within its block."""
    return (name[0], f"{package}:{name[1]}") if isinstance(name, tuple) else f"{package}:{name}"


def bare(name: str) -> str:
    """A name without its package."""
    return name.rpartition(":")[2]


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


def _refuse_ambiguous(
    loader: loading.Loader, kind: str, name: str | tuple[str, str], claimant: Provided[Any], packages: list[str]
) -> None:
    loader.report(
        ErrorCode.DUPLICATE_NAME,
        loader.plugin(claimant),
        f"{kind} {name!r} is claimed by {' and '.join(packages)}, and is neither's",
        f"write it with its package, as in {qualified(claimant.distribution, name)!r}, or uninstall one of them",
        conflict=True,
    )
