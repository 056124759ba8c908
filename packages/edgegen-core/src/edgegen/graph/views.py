"""Parameters with their axes in another order, which is how some of LiteRT's operators want them.

A graph names such a view as if it were a parameter of its own; the contents are rearranged as they are written.
"""

from __future__ import annotations

from collections.abc import Sequence

_MARK = "@"


def arranged_shape(shape: Sequence[int], order: Sequence[int]) -> tuple[int, ...]:
    """The shape of what has the axes ``order`` of something of ``shape``; -1 stands for a new axis of length 1."""
    return tuple(1 if axis < 0 else shape[axis] for axis in order)


def view_name(parameter: str, order: Sequence[int]) -> str:
    """How a value names a parameter whose axes are in ``order``."""
    return f"{parameter}{_MARK}{','.join(map(str, order))}"


def view_of(name: str) -> tuple[str, tuple[int, ...] | None]:
    """The parameter and the order: the reverse of :func:`view_name`; no order for a parameter's own name."""
    parameter, mark, order = name.partition(_MARK)
    return parameter, tuple(map(int, order.split(","))) if mark else None
