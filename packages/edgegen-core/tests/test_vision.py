"""Vision models as their authors write them: plain ``torch.nn``, converted as they are."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import edgegen
from edgegen.errors import UnsupportedError
from edgegen.testing.delegation import left_to_litert


class Residual(nn.Module):
    """Two 3x3 convolutions and a way around them. Source: K. He et al., "Deep residual learning" (2015), figure 2."""

    def __init__(self, inputs: int, channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, channels, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.relu = nn.ReLU(inplace=True)
        self.downsample: nn.Module | None = None
        if stride != 1 or inputs != channels:
            self.downsample = nn.Sequential(
                nn.Conv2d(inputs, channels, 1, stride, bias=False), nn.BatchNorm2d(channels)
            )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        around = x if self.downsample is None else self.downsample(x)
        x = self.relu(self.bn1(self.conv1(x)))
        x = self.bn2(self.conv2(x))
        x += around
        return self.relu(x)


class ResNet18(nn.Module):
    """``[N, 3, 224, 224]`` to ``[N, classes]``."""

    def __init__(self, classes: int = 1000) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2, 1)
        )
        widths = (64, 64, 128, 256, 512)
        self.layers = nn.Sequential(
            *(
                nn.Sequential(Residual(before, width, stride), Residual(width, width, 1))
                for before, width, stride in zip(widths, widths[1:], (1, 2, 2, 2), strict=False)
            )
        )
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.classify = nn.Linear(512, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.classify(torch.flatten(self.pool(self.layers(self.stem(x))), 1))


class UNetBlock(nn.Module):
    """One way down and up again, with the pieces that diffusion and segmentation models are made of."""

    def __init__(self, channels: int = 16) -> None:
        super().__init__()
        self.enter = nn.Conv2d(3, channels, 3, padding=1)
        self.down = nn.Conv2d(channels, 2 * channels, 3, stride=2, padding=1)
        self.norm = nn.GroupNorm(4, 2 * channels)
        self.depthwise = nn.Conv2d(2 * channels, 2 * channels, 5, padding=2, groups=2 * channels)
        self.up = nn.ConvTranspose2d(2 * channels, channels, 4, stride=2, padding=1)
        self.merge = nn.Conv2d(4 * channels, channels, 3, padding=1, padding_mode="reflect")
        self.leave = nn.ConvTranspose2d(channels, 3, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        skip = F.silu(self.enter(x))
        deep = F.silu(self.norm(self.down(skip)))
        deep = deep + self.depthwise(deep)
        nearest = F.interpolate(deep, scale_factor=2.0, mode="nearest")
        merged = self.merge(torch.cat([skip, self.up(deep), nearest], dim=1))
        return self.leave(F.silu(merged))


def settled(model: nn.Module) -> nn.Module:
    """In inference mode, with statistics as if it had been trained."""
    torch.manual_seed(0)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_mean, -0.2, 0.2)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
            nn.init.uniform_(module.weight, 0.5, 1.0)
    return model.eval()


@torch.no_grad()
def test_resnet18_agrees_with_eager_and_runs_on_xnnpack_alone(tmp_path):
    model = settled(ResNet18())
    image = torch.randn(1, 3, 224, 224)
    edge = edgegen.convert(model, (image,))
    (got,) = edge(image).values()
    want = model(image)
    assert (got - want).abs().max() <= 1e-4 * want.abs().max()
    assert left_to_litert(edge.export(tmp_path / "resnet.tflite")) == set()


@torch.no_grad()
def test_a_unet_block_agrees_with_eager(tmp_path):
    model = settled(UNetBlock())
    image = torch.randn(2, 3, 24, 32)
    edge = edgegen.convert(model, (image,))
    (got,) = edge(image).values()
    want = model(image)
    assert (got - want).abs().max() <= 1e-4 * want.abs().max()
    left = left_to_litert(edge.export(tmp_path / "unet.tflite"))
    assert left <= {"RESIZE_NEAREST_NEIGHBOR", "GATHER"}  # what XNNPACK has no kernel for


@torch.no_grad()
@pytest.mark.parametrize("scheme", ["fp16", "int8-channel"])
def test_convolutions_survive_other_storage(scheme):
    model = settled(UNetBlock())
    image = torch.randn(1, 3, 16, 16)
    (got,) = edgegen.convert(model, (image,), scheme=scheme)(image).values()
    want = model(image)
    assert (got - want).abs().max() <= 2e-2 * want.abs().max()


@torch.no_grad()
def test_a_half_precision_module_takes_and_gives_half_precision():
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 36, 4)).half()
    image = torch.randn(1, 3, 8, 8).half()
    (got,) = edgegen.convert(model, (image,))(image).values()
    assert got.dtype == torch.float16
    torch.testing.assert_close(got, model(image), atol=4e-3, rtol=4e-3)


def test_a_module_in_training_mode_is_refused_with_the_remedy():
    with pytest.raises(UnsupportedError, match="writes to buffers or parameters") as caught:
        edgegen.convert(ResNet18(), (torch.randn(1, 3, 64, 64),))
    assert "model.eval()" in str(caught.value)


def test_tensors_without_elements_may_occur_inside_but_not_at_the_boundary():
    class Joined(nn.Module):
        def forward(self, x):
            return torch.cat([x, x[:, :0], x[:, 1:]], dim=1)

    class Emptied(nn.Module):
        def forward(self, x):
            return x[:0]

    x = torch.randn(2, 3)
    (got,) = edgegen.convert(Joined(), (x,))(x).values()
    torch.testing.assert_close(got, Joined()(x))
    with pytest.raises(UnsupportedError, match=r"input 'x' .* has no elements"):
        edgegen.convert(Joined(), (x[:0],))
    with pytest.raises(UnsupportedError, match=r"output .* has no elements"):
        edgegen.convert(Emptied(), (x,))
