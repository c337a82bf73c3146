"""A convolution with its norm in float32, as the soft and hard attention of HA-CNN have it."""

from __future__ import annotations

import torch
from torch import nn

from ..functional import batch_norm, in_float32


class Float32ConvNorm(nn.Module):
    """Convolution and batch norm, in float32 at least: its maps have one channel or one position."""

    def __init__(self, channels: int, c2: int, kernel_size: int = 1, stride: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, c2, kernel_size, stride, kernel_size // 2)
        self.bn = nn.BatchNorm2d(c2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return in_float32(self.bn, in_float32(self.conv, x))


class SeparableConv(nn.Module):
    """Batch norm, ReLU, depthwise convolution, pointwise convolution; same height and width.

    Args:
        c1: Input channels.
        c2: Output channels.
        kernel: Side of the depthwise kernel, odd.
        dim: ``"2d"`` or ``"3d"``.
    """

    def __init__(self, c1: int, c2: int, kernel: int, dim: str) -> None:
        super().__init__()
        norm, conv = (nn.BatchNorm2d, nn.Conv2d) if dim == "2d" else (nn.BatchNorm3d, nn.Conv3d)
        self.norm = norm(c1)
        self.depthwise = conv(c1, c1, kernel, padding=kernel // 2, groups=c1, bias=False)
        self.pointwise = conv(c1, c2, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return ``x`` with ``c2`` channels."""
        y: torch.Tensor = self.pointwise(self.depthwise(batch_norm(self.norm, x).relu()))
        return y


class ConvNormReLU(nn.Module):
    """Convolution, batch norm, ReLU; same height and width. The arguments are those of :class:`SeparableConv`."""

    def __init__(self, c1: int, c2: int, kernel: int, dim: str) -> None:
        super().__init__()
        norm, conv = (nn.BatchNorm2d, nn.Conv2d) if dim == "2d" else (nn.BatchNorm3d, nn.Conv3d)
        self.conv = conv(c1, c2, kernel, padding=kernel // 2, bias=False)
        self.norm = norm(c2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return ``x`` with ``c2`` channels."""
        return batch_norm(self.norm, self.conv(x)).relu()
