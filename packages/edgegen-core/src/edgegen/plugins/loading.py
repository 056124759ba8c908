"""Loading of descriptors from entry points, with every plugin behind a guard of its own.

Pluggy keeps the specs and checks implementations against them. It calls all implementations of a hook in one
go, so one that raises would take the others with it; therefore they are called here one by one.
"""

from __future__ import annotations

import inspect
import os
import sys
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import replace
from importlib import metadata
from types import ModuleType
from typing import Any, TypeVar

import pluggy

from edgegen import hookspecs
from edgegen.errors import ErrorCode, PluginError
from edgegen.hookspecs import GROUP
from edgegen.plugins.checks import flaw
from edgegen.plugins.records import CORE, Plugin, Problem, Provided
from edgegen.suggest import closest

D = TypeVar("D")

PREFIX = "edgegen_"
HEAVY = ("ai_edge_litert", "numpy", "torch")
"""Libraries that take so long to import that listing what is installed must do without them."""

_REPORT = "report it to the plugin's author, or disable it: EDGEGEN_DISABLED_PLUGINS={plugin}"


class Loader:
    """Loads every plugin once; afterwards :meth:`collect` asks them hook by hook.

    Attributes:
        problems: what was refused so far.

    Raises:
        PluginError: from any method, at the first problem, when ``strict``.
    """

    def __init__(self, *, disabled: Iterable[str] = (), strict: bool = False) -> None:
        self.problems: list[Problem] = []
        self._strict = strict
        self._manager = pluggy.PluginManager(GROUP)
        self._manager.add_hookspecs(hookspecs)
        self._plugins: list[Plugin] = []
        self._modules: dict[int, Plugin] = {}
        self._heavy: dict[int, tuple[str, ...]] = {}
        self._seconds: dict[int, float] = {}
        self._owners: dict[str, Plugin] = {}  # the name that pluggy knows an implementation's holder by -> plugin
        for entry_point in _entry_points():
            self._add(entry_point, frozenset(disabled))

    @property
    def plugins(self) -> tuple[Plugin, ...]:
        """All entry points, in the order in which they were asked, with their status as of now."""
        broken = {id(problem.plugin) for problem in self.problems if not problem.conflict}
        return tuple(
            replace(
                plugin,
                status="broken" if id(plugin) in broken else plugin.status,
                heavy=self._heavy.get(id(plugin), ()),
                seconds=self._seconds.get(id(plugin), 0.0),
            )
            for plugin in self._plugins
        )

    def collect(self, hook: str, kind: type[D]) -> Iterator[Provided[D]]:
        """Descriptors that the plugins yield for ``hook``, in their order; unsound ones are refused."""
        implementations = getattr(self._manager.hook, hook).get_hookimpls()
        order = list(self._owners)
        for implementation in sorted(implementations, key=lambda impl: order.index(impl.plugin_name)):
            plugin = self._owners[implementation.plugin_name]
            for item in self._call(hook, implementation.function, plugin, kind):
                yield Provided(
                    descriptor=item,
                    plugin=plugin.name,
                    distribution=plugin.distribution,
                    version=plugin.version,
                )

    def report(
        self,
        code: ErrorCode,
        plugin: Plugin,
        message: str,
        remedy: str,
        error: BaseException | None = None,
        *,
        conflict: bool = False,
    ) -> None:
        """Note a problem, or raise it when strict; a ``conflict`` between two plugins breaks neither."""
        remedy = remedy.format(plugin=plugin.name)
        if self._strict:
            raise PluginError(f"{plugin.title}: {message}", code=code, hint=remedy) from error
        self.problems.append(
            Problem(
                code=code,
                plugin=plugin,
                message=message,
                remedy=remedy,
                conflict=conflict,
                location=_location(error) if error else "",
                traceback="".join(traceback.format_exception(error)) if error else "",
            )
        )

    def plugin(self, provided: Provided[Any]) -> Plugin:
        """The plugin that a descriptor came from."""
        wanted = (provided.plugin, provided.distribution)
        return next(plugin for plugin in self._plugins if (plugin.name, plugin.distribution) == wanted)

    def _add(self, entry_point: metadata.EntryPoint, disabled: frozenset[str]) -> None:
        distribution, version = _origin(entry_point)
        plugin = Plugin(
            name=entry_point.name,
            module=entry_point.value,
            distribution=distribution,
            version=version,
            status="disabled" if entry_point.name in disabled else "ok",
        )
        self._plugins.append(plugin)
        if plugin.status == "disabled":
            return
        before, begin = set(sys.modules), time.perf_counter()
        module = self._import(entry_point, plugin)
        self._seconds[id(plugin)] = time.perf_counter() - begin
        self._heavy[id(plugin)] = tuple(n for n in HEAVY if n in sys.modules and n not in before)
        if module is not None:
            self._register(module, plugin)

    def _import(self, entry_point: metadata.EntryPoint, plugin: Plugin) -> ModuleType | None:
        with self._guard(ErrorCode.PLUGIN_IMPORT_FAILED, plugin, f"cannot import {plugin.module}"):
            module = entry_point.load()
            if not isinstance(module, ModuleType):
                what = f"the entry point names {plugin.module}, a {type(module).__name__}, expected a module"
                self.report(ErrorCode.PLUGIN_IMPORT_FAILED, plugin, what, "name the module alone, without ':attribute'")
            elif id(module) in self._modules:
                first = self._modules[id(module)]
                what = f"module {plugin.module} is registered already by {first.title}"
                self.report(ErrorCode.DUPLICATE_NAME, plugin, what, "remove one of the two entry points")
            else:
                self._modules[id(module)] = plugin
                return module
        return None

    def _register(self, module: ModuleType, plugin: Plugin) -> None:
        """Register each sound hook implementation of ``module`` by itself, so that a bad one goes alone."""
        for name, function in list(vars(module).items()):
            marked = getattr(function, f"{GROUP}_impl", None) if inspect.isroutine(function) else None
            if marked is None and not _forgotten(name, function, module):
                continue
            hook = (marked or {}).get("specname") or name
            if not self._known(hook, plugin):
                continue
            if marked is None:
                what = f"{name} is not marked as a hook implementation, so it is never called"
                self.report(ErrorCode.UNKNOWN_HOOK, plugin, what, "put @edgegen.hookimpl above it")
            elif marked.get("wrapper") or marked.get("hookwrapper"):
                what = f"{name} wraps a hook; implementations are called one by one, so nothing can be wrapped"
                self.report(ErrorCode.HOOK_SIGNATURE_MISMATCH, plugin, what, "yield descriptors of your own")
            else:
                self._accept(name, function, plugin)

    def _known(self, hook: str, plugin: Plugin) -> bool:
        specs = [name for name in vars(hookspecs) if name.startswith(PREFIX)]
        if hook in specs:
            return True
        meant = closest(hook, specs)
        remedy = f"did you mean {meant}?" if meant else f"hooks are {', '.join(specs)}"
        self.report(ErrorCode.UNKNOWN_HOOK, plugin, f"there is no hook {hook}", remedy)
        return False

    def _accept(self, name: str, function: Callable[..., object], plugin: Plugin) -> None:
        holder = ModuleType(plugin.module)
        setattr(holder, name, function)
        key = f"{plugin.distribution}:{plugin.name}:{name}"
        try:
            self._manager.register(holder, name=key)
        except pluggy.PluginValidationError:
            what = f"{name}{inspect.signature(function)} takes arguments that the hook does not have"
            self.report(
                ErrorCode.HOOK_SIGNATURE_MISMATCH, plugin, what, "see docs/reference/hooks.md for the signature"
            )
        else:
            self._owners[key] = plugin

    def _call(self, hook: str, function: Callable[[], object], plugin: Plugin, kind: type[D]) -> list[D]:
        sound: list[D] = []
        with self._guard(ErrorCode.HOOK_FAILED, plugin, f"{hook} raised, its remaining items are lost"):
            produced = function()
            if isinstance(produced, (str, bytes)) or not isinstance(produced, Iterable):
                what = f"{hook} returned {type(produced).__name__}, expected an iterable of {kind.__name__}"
                self.report(
                    ErrorCode.INVALID_DESCRIPTOR, plugin, what, "yield the descriptors, or return them in a list"
                )
                return sound
            for item in produced:
                problem = flaw(item, kind)
                if problem is None:
                    sound.append(item)
                else:
                    name = getattr(item, "name", None)
                    what = f"{hook} gave {name if isinstance(name, str) else 'an item'} that {problem}"
                    self.report(
                        ErrorCode.INVALID_DESCRIPTOR, plugin, what, f"see {kind.__name__} in docs/reference/hooks.md"
                    )
        return sound

    @contextmanager
    def _guard(self, code: ErrorCode, plugin: Plugin, message: str) -> Iterator[None]:
        """Turn whatever the plugin raises into a problem, sys.exit() included; what it prints goes to stderr."""
        try:
            with redirect_stdout(sys.stderr):
                yield
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            if self._strict and isinstance(error, PluginError):
                raise
            self.report(code, plugin, f"{message}: {_describe(error)}", _remedy(error, plugin.distribution), error)


def _entry_points() -> list[metadata.EntryPoint]:
    """Entry points of the group, core's own first, then by distribution and name: the same everywhere."""
    try:
        found = list(metadata.entry_points(group=GROUP))
    except Exception:  # One distribution with unreadable metadata fails the whole question; ask one by one.
        found = [point for distribution in metadata.distributions() for point in _readable(distribution)]

    def rank(entry_point: metadata.EntryPoint) -> tuple[bool, str, str]:
        distribution, _ = _origin(entry_point)
        return distribution != CORE, distribution, entry_point.name

    return sorted(found, key=rank)


def _readable(distribution: metadata.Distribution) -> list[metadata.EntryPoint]:
    try:
        return list(distribution.entry_points.select(group=GROUP))
    except Exception:
        return []


def _origin(entry_point: metadata.EntryPoint) -> tuple[str, str]:
    """Normalized name and version of the distribution."""
    try:
        assert entry_point.dist is not None
        return entry_point.dist.name.lower().replace("_", "-"), entry_point.dist.version
    except Exception:  # metadata without a name or version
        return "unknown", "unknown"


def _forgotten(name: str, function: object, module: ModuleType) -> bool:
    """True for a function that is named like a hook but lacks the mark: the prefix is reserved for hooks."""
    return name.startswith(PREFIX) and inspect.isfunction(function) and function.__module__ == module.__name__


def _describe(error: BaseException) -> str:
    try:
        text = " ".join(str(error).split())
    except Exception:
        text = "(its message cannot be shown)"
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _remedy(error: BaseException, distribution: str) -> str:
    from edgegen.plugins.dependencies import missing_dependency

    missing = missing_dependency(error, distribution)
    return missing.hint or _REPORT if missing else _REPORT


def _location(error: BaseException) -> str:
    """``file:line`` of the innermost frame."""
    frames = traceback.extract_tb(error.__traceback__)
    return f"{frames[-1].filename}:{frames[-1].lineno}" if frames else ""


def strict() -> bool:
    """True if ``EDGEGEN_STRICT`` asks for exceptions instead of reports."""
    return os.environ.get("EDGEGEN_STRICT", "") not in ("", "0")


def disabled() -> frozenset[str]:
    """Entry points that ``EDGEGEN_DISABLED_PLUGINS`` names."""
    names = os.environ.get("EDGEGEN_DISABLED_PLUGINS", "").split(",")
    return frozenset(name.strip() for name in names if name.strip())
