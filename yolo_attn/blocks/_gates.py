"""What the soft and hard attention of HA-CNN have in common: their start, means and convolutions."""

from __future__ import annotations

import torch
from torch import nn

from ._checks import check_bool
from ._float32 import in_float32
from ._residual import Residual, residual_scale


def start_scale(channels: int, residual: bool, apply: bool, block: str) -> Residual | None:
    """Return the scale of ``residual``, which needs ``apply``: a bare map has no input to start from."""
    check_bool(block, "apply", apply)
    scale = residual_scale(channels, residual, block)
    if scale is not None and not apply:
        raise ValueError(f"{block}: residual=True must come with apply=True; the bare map takes no residual")
    return scale


def mean(x: torch.Tensor, over: int | tuple[int, int]) -> torch.Tensor:
    """Return the mean in float32 at least, without a copy of ``x`` in it."""
    return x.mean(over, keepdim=True, dtype=torch.float64 if x.dtype == torch.float64 else torch.float32)


class ConvNorm(nn.Module):
    """Convolution and batch norm, in float32 at least: its maps have one channel or one position."""

    def __init__(self, channels: int, c2: int, kernel_size: int = 1, stride: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, c2, kernel_size, stride, kernel_size // 2)
        self.bn = nn.BatchNorm2d(c2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return in_float32(self.bn, in_float32(self.conv, x))
