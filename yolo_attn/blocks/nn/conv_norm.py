"""A convolution with its norm in float32, as the soft and hard attention of HA-CNN have it."""

from __future__ import annotations

import torch
from torch import nn

from ..functional import in_float32


class ConvNorm(nn.Module):
    """Convolution and batch norm, in float32 at least: its maps have one channel or one position."""

    def __init__(self, channels: int, c2: int, kernel_size: int = 1, stride: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, c2, kernel_size, stride, kernel_size // 2)
        self.bn = nn.BatchNorm2d(c2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return in_float32(self.bn, in_float32(self.conv, x))
