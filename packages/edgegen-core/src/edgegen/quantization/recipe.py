"""Which quantization scheme each weight of a file gets: one for all of them, or a recipe that says so by pattern.

Whatever takes a scheme takes its name or an alias, a recipe in one line (``embedding=int8-channel,*=int4-block32``),
the path of a recipe in TOML, or a :class:`Recipe`::

    [[rules]]
    parameters = "embedding"
    scheme = "int8-channel"

    [[rules]]
    parameters = "*"
    scheme = "int4-block32"
"""

from __future__ import annotations

import functools
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from edgegen.descriptors import QuantScheme
from edgegen.errors import ErrorCode, UsageError
from edgegen.plugins import load, registry
from edgegen.suggest import closest
from edgegen.weights.mismatch import pattern_of
from edgegen.weights.storage import Encoded, ParameterInfo, Rows, Scheme, Storage, Tolerance, scheme_for

_EXAMPLE = "embedding=int8-channel,*=int4-block32"

_MATRICES = ("embedding", "linear")


@dataclass(frozen=True)
class Recipe:
    """A scheme for each parameter, by the first pattern that it matches; itself a scheme.

    A pattern is a parameter's path or that of a module above it, where ``*`` stands for anything:
    ``blocks.*.attention`` is all of the attentions' weights. ``@embedding`` and ``@linear`` go by what a matrix is used
    for; one that is used for both is an embedding.

    Attributes:
        rules: pattern and name of a scheme, in this order.
    """

    rules: tuple[tuple[str, str], ...]

    @functools.cached_property
    def descriptors(self) -> tuple[QuantScheme, ...]:
        """The descriptor of each rule's scheme."""
        return tuple(registry().scheme(name) for _, name in self.rules)

    @property
    def tolerance(self) -> Tolerance:
        """The widest among the schemes."""
        tolerances = [_loaded(descriptor).tolerance for descriptor in self.descriptors]
        return Tolerance(max(each.logits for each in tolerances), min(each.top1 for each in tolerances))

    def scheme_for(self, parameter: ParameterInfo) -> Scheme:
        """That of the first rule that matches; of the last rule, where none does."""
        matching = (
            descriptor
            for (pattern, _), descriptor in zip(self.rules, self.descriptors, strict=True)
            if _matches(pattern, parameter)
        )
        return scheme_for(_loaded(next(matching, self.descriptors[-1])), parameter)

    def storage(self, parameter: ParameterInfo) -> Storage:
        return self.scheme_for(parameter).storage(parameter)

    def encode(self, rows: Rows, storage: Storage) -> Encoded:
        return _loaded(self.descriptors[-1]).encode(rows, storage)

    def check(self, parameters: Iterable[ParameterInfo]) -> None:
        """Raise UsageError for a rule that no parameter takes, and for a matrix without a rule."""
        parameters = list(parameters)
        unused = [pattern for pattern, _ in self.rules if not any(_matches(pattern, each) for each in parameters)]
        if unused:
            paths = dict.fromkeys(path for each in parameters for path in _paths(pattern_of(each.name)))
            near = {pattern: closest(pattern, paths) for pattern in unused}
            raise UsageError(
                f"no parameter matches {', '.join(unused)}",
                code=ErrorCode.RECIPE_MISMATCH,
                details=[f"{pattern}   close to: {path}" for pattern, path in near.items() if path],
                hint=f"the parameters are {', '.join(dict.fromkeys(pattern_of(each.name) for each in parameters))}",
            )
        taken = [next((rule for rule in self.rules if _matches(rule[0], each)), None) for each in parameters]
        *earlier, (last, _) = self.rules
        rules = earlier if last == "*" else self.rules  # one for everything else may find nothing left
        idle = ["=".join(rule) for rule in rules if rule not in taken]
        if idle:
            raise UsageError(
                f"{', '.join(idle)} never applies: rules before it take all that it matches",
                code=ErrorCode.RECIPE_MISMATCH,
                hint="the first rule that matches decides: put the narrower ones first",
            )
        left = [
            pattern_of(each.name)
            for each in parameters
            if each.role in _MATRICES and not any(_matches(pattern, each) for pattern, _ in self.rules)
        ]
        if left:
            raise UsageError(
                f"the recipe says nothing of {', '.join(dict.fromkeys(left))}",
                code=ErrorCode.RECIPE_MISMATCH,
                hint=f"end it with a rule for everything else, as in {_EXAMPLE}",
            )

    def __str__(self) -> str:
        return ",".join(f"{pattern}={name}" for pattern, name in self.rules)


@dataclass(frozen=True)
class Chosen:
    """A scheme as it was asked for.

    Attributes:
        name: a scheme's name, or a recipe in one line; choosing it again gives the same.
        scheme: for all of a file's parameters.
        descriptors: descriptors of the schemes that it is made of.
    """

    name: str
    scheme: Scheme
    descriptors: tuple[QuantScheme, ...]


def choose(asked: str | Path | Recipe) -> Chosen:
    """Find a scheme by name or alias, or put a recipe together from a line or a file.

    Raises:
        UsageError: no such scheme or file, or the recipe makes no sense.
    """
    if not isinstance(asked, (str, Path, Recipe)):
        raise UsageError(
            f"a quantization scheme is named by a string, not {asked!r}",
            code=ErrorCode.INVALID_ARGUMENT,
            hint=f"a scheme's name, or a recipe, e.g. {_EXAMPLE}",
        )
    if isinstance(asked, str) and "=" not in asked and not asked.endswith(".toml"):
        descriptor = registry().scheme(asked)
        return Chosen(descriptor.name, _loaded(descriptor), (descriptor,))
    found = asked if isinstance(asked, Recipe) else recipe(asked)
    return Chosen(str(found), found, tuple(dict.fromkeys(found.descriptors)))


def recipe(rules: str | Path | Mapping[str, str]) -> Recipe:
    """A recipe from pattern -> scheme, from a line of such pairs, or from a file in TOML.

    Raises:
        UsageError: no such scheme or file, no rule, or something that is no rule.
    """
    if isinstance(rules, Mapping):
        pairs = list(rules.items())
    elif isinstance(rules, Path) or rules.endswith(".toml"):
        pairs = _read(Path(rules))
    else:
        pairs = [_pair(part) for part in rules.split(",")]
    if not pairs:
        raise UsageError("the recipe has no rules", code=ErrorCode.INVALID_RECIPE, hint=f"e.g. {_EXAMPLE}")
    # By its own name, so that what is written down does not depend on aliases.
    return Recipe(tuple((pattern, registry().scheme(name).name) for pattern, name in pairs))


def _pair(text: str) -> tuple[str, str]:
    pattern, _, name = (part.strip() for part in text.partition("="))
    if not pattern or not name:
        raise UsageError(
            f"{text!r} is no rule of the form PATTERN=SCHEME", code=ErrorCode.INVALID_RECIPE, hint=f"e.g. {_EXAMPLE}"
        )
    return pattern, name


def _read(path: Path) -> list[tuple[str, str]]:
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"cannot read the recipe {path}: {error.strerror}", code=ErrorCode.FILE_UNREADABLE) from error
    except ValueError as error:
        raise UsageError(f"the recipe {path} is not TOML: {error}", code=ErrorCode.INVALID_RECIPE) from error
    rules = document.pop("rules", [])
    sound = isinstance(rules, list) and all(
        isinstance(rule, dict)
        and rule.keys() == {"parameters", "scheme"}
        and all(isinstance(text, str) and text for text in rule.values())
        for rule in rules
    )
    if document or not sound:
        raise UsageError(
            f"the recipe {path} does not consist of rules",
            code=ErrorCode.INVALID_RECIPE,
            details=[f"unknown   {name}" for name in document],
            hint='each is [[rules]] with parameters = "PATTERN" and scheme = "NAME", and nothing else',
        )
    return [(rule["parameters"], rule["scheme"]) for rule in rules]


def _matches(pattern: str, parameter: ParameterInfo) -> bool:
    if pattern.startswith("@"):
        return pattern[1:] == parameter.role
    return any(fnmatchcase(path, pattern) for path in _paths(parameter.name))


def _paths(name: str) -> list[str]:
    """The path, and those of everything above it."""
    parts = name.split(".")
    return [".".join(parts[:count]) for count in range(len(parts), 0, -1)]


def _loaded(descriptor: QuantScheme) -> Scheme:
    scheme: Scheme = load(descriptor.scheme)
    return scheme
