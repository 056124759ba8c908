"""Scaling groups: channels of a model that can be scaled without changing what it computes (cross-layer scaling).

Where producers make channels that only linear layers consume, each in proportion to the producers' own weights, those
weights can be divided by any number above 0 and the consumers' columns multiplied by it. A module that fulfils
:class:`edgegen.modeling.SupportsChannelScaling` lists them; a weight pass chooses the numbers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy.typing as npt


@dataclass(frozen=True)
class Rows:
    """Rows of a parameter, one for each channel, to which the channel is proportional.

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
    """Channels between layers that are scaled together.

    Attributes:
        producers: everything that they are proportional to, biases included: halve all of these rows, and the channel
            halves.
        consumers: matrices that take them, and the only ones.
        run: channels in a head; a consumer sees each head's ``copies`` times, one after the other. None for all.
        copies: see ``run``.
        added: a producer that the model has only once ``add_scales(added)`` was called: ones, by which the channels are
            multiplied on their way. For those whose producers cannot change; it costs a multiplication at run time.
    """

    producers: tuple[Rows, ...]
    consumers: tuple[str, ...]
    run: int | None = None
    copies: int = 1
    added: str | None = None

    def expanded(self, channels: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """A number for each channel, repeated as the consumers' columns are: ``[channels] -> [columns]``."""
        if self.run is None:
            return channels
        heads = channels.reshape(-1, 1, self.run)
        return heads.repeat(self.copies, axis=1).reshape(-1)

    def copied(self, columns: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """A number for each column, copies of a channel beside each other: ``[columns] -> [copies, channels]``."""
        if self.run is None:
            return columns[None]
        return columns.reshape(-1, self.copies, self.run).swapaxes(0, 1).reshape(self.copies, -1)
