"""Convolutions with a norm. A float32 one for the gates of HA-CNN; the two forms of PMFS, 2d and 3d."""

from __future__ import annotations

from torch import Tensor, nn

from ..functional import batch_norm, in_float32

CONVOLUTIONS = {"2d": (nn.BatchNorm2d, nn.Conv2d), "3d": (nn.BatchNorm3d, nn.Conv3d)}


class Float32ConvNorm(nn.Module):
    """Apply a convolution and a batch norm in float32 or float64: the maps have one channel or one position."""

    def __init__(self, c1: int, c2: int, kernel_size: int = 1, stride: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(c1, c2, kernel_size, stride, kernel_size // 2)
        self.bn = nn.BatchNorm2d(c2)

    def forward(self, x: Tensor) -> Tensor:
        return in_float32(self.bn, in_float32(self.conv, x))


class ConvNormReLU(nn.Module):
    """Apply a convolution, batch norm and ReLU; height and width stay. ``dim`` is ``"2d"`` or ``"3d"``."""

    def __init__(self, c1: int, c2: int, kernel_size: int, dim: str) -> None:
        super().__init__()
        norm, conv = CONVOLUTIONS[dim]
        self.conv = conv(c1, c2, kernel_size, padding=kernel_size // 2, bias=False)
        self.norm = norm(c2)

    def forward(self, x: Tensor) -> Tensor:
        return batch_norm(self.norm, self.conv(x)).relu()


class SeparableConv(nn.Module):
    """Apply batch norm, ReLU, a depthwise and a pointwise convolution; arguments as :class:`ConvNormReLU`."""

    def __init__(self, c1: int, c2: int, kernel_size: int, dim: str) -> None:
        super().__init__()
        norm, conv = CONVOLUTIONS[dim]
        self.norm = norm(c1)
        self.depthwise = conv(c1, c1, kernel_size, padding=kernel_size // 2, groups=c1, bias=False)
        self.pointwise = conv(c1, c2, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.pointwise(self.depthwise(batch_norm(self.norm, x).relu()))
