"""The fallback of a scheme: what it stores matrices as whose sizes do not fit its own storage."""

from __future__ import annotations

from collections.abc import Mapping

from edgegen.tflite.writer import Parameter
from edgegen.weights.storage import ParameterInfo, Scheme, scheme_for

_FITS_ALL = (4096, 4096)


def fallback(parameters: Mapping[str, Parameter], scheme: Scheme, name: str) -> str | None:
    """A sentence, where no matrix of a model could be stored as the scheme stores matrices; None otherwise.

    Matrices that the checkpoint keeps quantized do not count: a scheme may take those over.
    """
    matrices = {
        key: parameter
        for key, parameter in parameters.items()
        if parameter.role == "linear" and parameter.source.packed is None
    }
    others = set()
    for key, parameter in matrices.items():
        info = ParameterInfo(key, _FITS_ALL, "linear")
        if parameter.storage == scheme_for(scheme, info).storage(info):
            return None
        others.add(str(parameter.storage))
    if not others:
        return None
    return f"none of the {len(matrices)} matrices fits {name}: they are stored as {', '.join(sorted(others))}"
