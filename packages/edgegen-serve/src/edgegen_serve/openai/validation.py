"""Validation of request bodies: pydantic's errors become OpenAI's error objects, which name the field."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar, get_args

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from edgegen.suggest import closest
from edgegen_serve.openai.errors import ApiError, invalid, shown
from edgegen_serve.openai.request_bodies import UNTAGGED, Body

B = TypeVar("B", bound=Body)

_LONGEST = 100
"""Longer names are cut when they are repeated or compared."""

_JSON_TYPES = {
    type(None): "null", bool: "a boolean", int: "an integer", float: "a number", str: "a string", list: "an array",
    dict: "an object",
}  # fmt: skip

_EXPECTED = {
    "string_type": "a string", "bool_type": "a boolean", "int_type": "an integer", "int_from_float": "an integer",
    "float_type": "a number", "list_type": "an array", "dict_type": "an object", "model_type": "an object",
    "model_attributes_type": "an object",
}  # fmt: skip


def validate(model: type[B], body: Any) -> B:
    """The body of a request as ``model``.

    Raises:
        ApiError: it is wrong, or asks for something that is not supported; the first error counts.
    """
    try:
        return model.model_validate(body)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
    raise _api_error(model, first)


def _api_error(model: type[Body], error: ErrorDetails) -> ApiError:
    kind, location, context = error["type"], list(error["loc"]), error.get("ctx", {})
    if kind.endswith("_in"):  # an error of a whole object that is about one of its fields
        kind, location = kind.removesuffix("_in"), [*location, context["field"]]
    if location and location[-1] == "[key]":
        location = location[:-2]
    path = _path(location)
    owner, name = _owner(model, location)
    if not path:
        return invalid(None, "the body should be a JSON object")
    if kind in ("extra_forbidden", "invalid_key"):
        return _unknown(owner, location)
    if name in owner.UNSUPPORTED:
        path = _path(location[: location.index(name) + 1])
        return ApiError(400, f"{path} is not supported here", param=path, code="unsupported_parameter")
    if kind == "missing":
        return ApiError(400, f"{path} is missing", param=path, code="missing_field")
    return invalid(path, f"{path} {_complaint(kind, error, context)}")


def _complaint(kind: str, error: ErrorDetails, context: Mapping[str, Any]) -> str:
    """The rest of the sentence that begins with the field's path."""
    value = error["input"]
    if kind == "wrong_type" or kind in _EXPECTED:
        return f"should be {_EXPECTED.get(kind, error['msg'])}, but is {_JSON_TYPES[type(value)]}"
    if kind == "literal_error":
        return _choices(context["expected"])
    if kind == "too_long":
        return f"should have at most {context['max_length']} items, but has {len(value)}"
    if kind in ("too_short", "string_too_short"):
        return "is empty"
    return error["msg"]  # of our own errors


def _choices(expected: str) -> str:
    """``should be …`` of pydantic's list of literals, such as ``'a', 'b' or 'c'``."""
    plain = expected.replace("'", "")
    return f"should be {'one of ' if ' or ' in plain else ''}{plain}"


def _unknown(owner: type[Body], location: Sequence[int | str]) -> ApiError:
    *parents, name = location
    path, close = _path(location), closest(str(name)[:_LONGEST], _field_names(owner))
    return ApiError(
        400,
        f"unknown field {shown(path)}" + (f"; did you mean {_path([*parents, close])}?" if close else ""),
        param=path[:_LONGEST],
        code="unknown_parameter",
    )


def _field_names(model: type[Body]) -> list[str]:
    return [field.alias or name for name, field in model.model_fields.items()]


def _path(location: Sequence[int | str]) -> str:
    """Path of a field as clients write it: ``messages[0].content``."""
    parts = (step for step in location if not str(step).startswith(UNTAGGED))
    return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in parts).removeprefix(".")


def _owner(model: type[Body], location: Sequence[int | str]) -> tuple[type[Body], str]:
    """The model that the field at the end of ``location`` belongs to, and the field's name."""
    names = [step for step in location if isinstance(step, str) and not step.startswith(UNTAGGED)]
    owner = model
    for name in names[:-1]:
        field = next((field for key, field in owner.model_fields.items() if name in (key, field.alias)), None)
        owner = (_nested(field.annotation) if field else None) or owner
    return owner, names[-1] if names else ""


def _nested(annotation: Any) -> type[Body] | None:
    """The model in a field's type, also inside lists and unions."""
    if isinstance(annotation, type) and issubclass(annotation, Body):
        return annotation
    return next((found for argument in get_args(annotation) if (found := _nested(argument))), None)
