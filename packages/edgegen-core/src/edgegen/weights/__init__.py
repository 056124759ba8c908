"""Checkpoints: weights on disk, as named lazy tensors, and the map from their names to a model's.

Nothing here reads a weight before someone asks for rows of it, and nothing imports torch.
"""

from edgegen.weights.opening import open_checkpoint
from edgegen.weights.tensors import Checkpoint, LazyTensor, TokenizerAssets
from edgegen.weights.weight_map import WeightMap

__all__ = ["Checkpoint", "LazyTensor", "TokenizerAssets", "WeightMap", "open_checkpoint"]
