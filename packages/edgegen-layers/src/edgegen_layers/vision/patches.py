"""Pictures as a sequence of vectors, for vision transformers (Dosovitskiy et al., 2020)."""

from __future__ import annotations

import torch
from torch import nn


class PatchEmbedding(nn.Module):
    """Squares of a picture, each projected to a vector with its position added, ``[B, C, height, width] -> [B, T, D]``.

    Args:
        image_size: height and width, in pixels; the patch size divides both.
        patch_size: side of a square, in pixels.
        channels: C.
        dim: D.
        class_token: whether a learned vector comes first, whose output stands for the picture.
    """

    def __init__(
        self, image_size: tuple[int, int], patch_size: int, channels: int, dim: int, *, class_token: bool = False
    ) -> None:
        super().__init__()
        if any(side % patch_size for side in image_size):
            raise ValueError(f"a picture of {image_size[0]} x {image_size[1]} has no whole patches of {patch_size}")
        count = (image_size[0] // patch_size) * (image_size[1] // patch_size)
        self.projection = nn.Conv2d(channels, dim, patch_size, stride=patch_size)
        if class_token:
            self.class_token = nn.Parameter(torch.zeros(1, 1, dim))
        self.has_class_token = class_token
        self.positions = nn.Parameter(torch.zeros(1, count + class_token, dim))

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        patches = self.projection(pictures).flatten(2).transpose(1, 2)  # [B, T, D], row by row
        if self.has_class_token:
            patches = torch.cat([self.class_token.expand(patches.shape[0], -1, -1), patches], dim=1)
        result: torch.Tensor = patches + self.positions
        return result
