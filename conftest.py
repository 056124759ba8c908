"""Marks of tests that are decided in one place: which are slow."""

from __future__ import annotations

from fnmatch import fnmatchcase

import pytest

SLOW = ()
"""Patterns of node ids: exports of whole models, browsers, kills, corpora. Real weights are slow by their own mark."""


@pytest.hookimpl(tryfirst=True)  # before -m is looked at
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark slow tests."""
    for item in items:
        if item.get_closest_marker("real_weights") or any(fnmatchcase(item.nodeid, pattern) for pattern in SLOW):
            item.add_marker(pytest.mark.slow)
