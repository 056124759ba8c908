"""Blocks for pictures: patches of a vision transformer, blocks of a diffusion model's U-Net."""
