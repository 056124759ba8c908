"""Channels of a model that can be scaled without changing what it computes, as the model tells of them.

Where one layer makes channels that only linear layers take, and makes each in proportion to weights of its own, those
weights can be divided by any number above 0 and the consumers' columns multiplied by it. A model has a method
``scaling_groups() -> list[ScalingGroup]``; the exporter chooses the numbers, see :mod:`edgegen_quant.ptq.smoothquant_pass`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy.typing as npt


@dataclass(frozen=True)
class Rows:
    """Rows of a parameter, one for each channel, that the channel is proportional to.

    Attributes:
        parameter: path; a vector's elements count as rows.
        start: the first row.
        stop: after the last; None for all that follow.
        shift: added to the numbers before they are used: 1 for a norm's scale that is stored around zero.
    """

    parameter: str
    start: int = 0
    stop: int | None = None
    shift: float = 0.0


@dataclass(frozen=True)
class ScalingGroup:
    """Channels between layers.

    Attributes:
        producers: everything that they are proportional to, biases included: halve all of these rows, and the channel
            halves.
        consumers: matrices that take them, and the only ones.
        run: channels in a head; a consumer sees each head's ``copies`` times, one after the other. None for all.
        copies: see ``run``.
        added: a producer that the model has only once ``add_scales(added)`` was called: ones, by which the channels are
            multiplied on their way. For those whose producers cannot change; it costs a multiplication as the model runs.
    """

    producers: tuple[Rows, ...]
    consumers: tuple[str, ...]
    run: int | None = None
    copies: int = 1
    added: str | None = None

    def expanded(self, channels: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """A number for each channel as one for each column of the consumers."""
        if self.run is None:
            return channels
        heads = channels.reshape(-1, 1, self.run)
        return heads.repeat(self.copies, axis=1).reshape(-1)

    def copied(self, columns: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """The other way round, all copies of a channel beside each other: ``[columns] -> [copies, channels]``."""
        if self.run is None:
            return columns[None]
        return columns.reshape(-1, self.copies, self.run).swapaxes(0, 1).reshape(self.copies, -1)


@dataclass(frozen=True)
class Equalization:
    """What an export scaled.

    Attributes:
        text: what was read to know magnitudes: ``calibration`` (the user's), ``built-in``, or ``random`` tokens where
            there is no tokenizer to read with.
        tokens: how many.
        scaled: kinds of weights, with ``*`` for numbers -> how many of each.
    """

    text: str
    tokens: int
    scaled: Mapping[str, int]

    def __str__(self) -> str:
        return f"{sum(self.scaled.values())} weights scaled, by {self.tokens} tokens ({self.text})"
