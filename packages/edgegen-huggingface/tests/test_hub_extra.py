"""Without the extra ``hub`` a repository's name ends in the line that installs it."""

from __future__ import annotations

import sys

import pytest

from edgegen.errors import ErrorCode, UsageError
from edgegen.weights import open_checkpoint


def test_the_missing_client_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("edgegen_huggingface.hub.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(UsageError) as caught:
        open_checkpoint("org/name")
    assert caught.value.code == ErrorCode.DEPENDENCY_MISSING
    assert caught.value.hint == "pip install 'edgegen-huggingface[hub]'"
