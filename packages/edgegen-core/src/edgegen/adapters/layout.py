"""Adapters that stay apart from the weights: inputs of the exported file, which a runtime feeds and switches.

A file that was exported for adapters of rank R takes, for each projection of attention in each block, the factors
``A [inputs, R]`` and ``B [R, outputs]`` under the names that LiteRT-LM looks for. Which factors of an adapter that peft
saved go where is written beside the model, in ``lora.json``: models are laid out as edgegen's, adapters as those that
they were trained on. Needs neither torch nor LiteRT.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edgegen.adapters.peft import SavedAdapter
from edgegen.errors import ErrorCode, UnsupportedError, UsageError
from edgegen.weights.files import summarize

LAYOUT_FILE = "lora.json"
SCHEMA_VERSION = 1

Float32 = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Projection:
    """One projection of one block, by its place in the model that adapters were trained on.

    Attributes:
        module: e.g. ``model.layers.0.self_attn.q_proj``.
        inputs: columns of its weight.
        rows: which of its rows, as ranges ``[start, stop)``, in this order.
    """

    module: str
    inputs: int
    rows: tuple[tuple[int, int], ...]

    @property
    def outputs(self) -> int:
        """Number of rows."""
        return sum(stop - start for start, stop in self.rows)


@dataclass(frozen=True)
class LoraLayout:
    """What an exported file takes.

    Attributes:
        rank: R; adapters of a lower one are filled up with zeros.
        projections: ``q``, ``k``, ``v`` and ``o`` -> one for each block.
    """

    rank: int
    projections: Mapping[str, Sequence[Projection]]

    @classmethod
    def open(cls, folder: Path) -> LoraLayout:
        """Read ``lora.json`` of an exported folder.

        Raises:
            UsageError: there is none, or it is damaged.
        """
        path = folder / LAYOUT_FILE
        if not path.is_file():
            raise UsageError(
                f"{folder} was not exported for adapters: it has no {LAYOUT_FILE}",
                code=ErrorCode.NO_ADAPTER_INPUTS,
                hint="export again with --lora-rank 16, or merge one adapter with --lora DIR",
            )
        try:
            document = json.loads(path.read_text(encoding="utf-8"))
            if document["schema_version"] != SCHEMA_VERSION:
                raise ValueError(f"schema version {document['schema_version']}, expected {SCHEMA_VERSION}")
            projections = {
                name: tuple(
                    Projection(str(row["module"]), int(row["inputs"]), tuple((int(a), int(b)) for a, b in row["rows"]))
                    for row in rows
                )
                for name, rows in document["projections"].items()
            }
            return cls(int(document["rank"]), projections)
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise UsageError(
                f"{path} is damaged: {type(error).__name__} {error}",
                code=ErrorCode.ADAPTER_LAYOUT_DAMAGED,
                hint="export the model again",
            ) from error

    def as_json(self) -> dict[str, object]:
        """What ``lora.json`` holds."""
        projections = {name: [asdict(row) for row in rows] for name, rows in self.projections.items()}
        return {"schema_version": SCHEMA_VERSION, "rank": self.rank, "projections": projections}

    def inputs(self) -> Iterator[tuple[str, str, int, tuple[int, int]]]:
        """Projection, factor (``a`` or ``b``), block and shape of each input; :func:`input_name` names it."""
        for name, rows in self.projections.items():
            for block, row in enumerate(rows):
                yield name, "a", block, (row.inputs, self.rank)
                yield name, "b", block, (self.rank, row.outputs)

    def zeros(self) -> dict[str, Float32]:
        """Inputs that change nothing."""
        return {
            input_name(name, factor, block): np.zeros(shape, np.float32) for name, factor, block, shape in self.inputs()
        }

    def factors(self, adapter: SavedAdapter) -> dict[str, Float32]:
        """An adapter as inputs of the file.

        Raises:
            UsageError: its rank is higher than the file takes, or it was trained on a model of another size.
            UnsupportedError: it changes more than attention's projections.
        """
        self._check(adapter)
        inputs = self.zeros()
        for name, rows in self.projections.items():
            for block, row in enumerate(rows):
                trained = adapter.adapters.get(f"{row.module}.weight")
                if trained is None:
                    continue
                a, b = inputs[input_name(name, "a", block)], inputs[input_name(name, "b", block)]
                up = np.concatenate([trained.up[start:stop] for start, stop in row.rows])
                rank = len(trained.down)
                if trained.down.shape[1] != row.inputs or len(up) != row.outputs:
                    raise UsageError(
                        f"the adapter of {row.module} is for {trained.down.shape[1]} inputs and {len(trained.up)} "
                        f"outputs, the model has {row.inputs} inputs",
                        code=ErrorCode.ADAPTER_SHAPE_MISMATCH,
                        hint="the adapter was trained on another model or size",
                    )
                a[:, :rank] = trained.down.T
                b[:rank] = np.float32(trained.scale) * up.T
        return inputs

    def _check(self, adapter: SavedAdapter) -> None:
        """That the file can be given all of it."""
        taken = {f"{row.module}.weight" for rows in self.projections.values() for row in rows}
        whole = [name for name, part in adapter.adapters.items() if part.magnitudes is not None]
        others = [*adapter.replaced, *(name for name in adapter.adapters if name not in taken), *whole]
        if others:
            raise UnsupportedError(
                f"{adapter.folder} changes {len(others)} weights in ways that only merging can",
                code=ErrorCode.ADAPTER_NEEDS_MERGING,
                details=summarize(others),
                hint="adapters that stay apart change attention's projections, without magnitudes; "
                "export with --lora DIR to merge this one",
            )
        rank = max((len(part.down) for part in adapter.adapters.values()), default=0)
        if rank > self.rank:
            raise UsageError(
                f"{adapter.folder} has rank {rank}, but the model was exported for rank {self.rank}",
                code=ErrorCode.ADAPTER_RANK_MISMATCH,
                hint=f"export again with --lora-rank {rank}",
            )


def input_name(projection: str, factor: str, block: int) -> str:
    """As LiteRT-LM expects it: ``lora_atten_q_a_prime_weight_0``."""
    return f"lora_atten_{projection}_{factor}_prime_weight_{block}"


def is_lora_input(name: str) -> bool:
    """Whether an input of a signature is part of an adapter."""
    return name.startswith("lora_atten_")
