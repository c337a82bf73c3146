"""Position information for attention: a bias per offset, a map added to the input, rotations of queries and keys.

Tables are 1-D because Ultralytics' MuSGD treats every 2-D and 4-D parameter as a matrix; up to 8.4.0 it does so for
every parameter of more than one dimension, and fails at three. Their names hold "bias" because all others get weight
decay.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..functional import at_least_float32, is_fixed, middle_or_stretched


class RelativePositionBias(nn.Module):
    """Learn a bias per head and offset between query and key (Swin, https://arxiv.org/abs/2103.14030).

    The middle of the table is offset 0; its first entry is the query furthest before the key. Along one axis, query q
    and key k, counted from the same place, use entry ``q - k + keys - 1`` of ``size`` = queries + keys - 1.
    """

    def __init__(self, heads: int, size: int) -> None:
        super().__init__()
        self.shape = (heads, size, size)
        self.relative_position_bias_table = nn.Parameter(torch.empty(heads * size * size))
        nn.init.trunc_normal_(self.relative_position_bias_table, std=0.02)

    def forward(self, height: int, width: int) -> Tensor:
        """Return the table for another size, ``(heads, height, width)``, in float32 or float64.

        A smaller size takes the middle, so each offset in cells keeps its bias. A larger size interpolates; offset 0
        and the outermost offsets keep their biases.
        """
        table = at_least_float32(self.relative_position_bias_table).reshape(self.shape)
        size = self.shape[1]
        table = middle_or_stretched(table, size, width).transpose(1, 2)
        return middle_or_stretched(table, size, height).transpose(1, 2)


class AbsolutePositionEmbedding(nn.Module):
    """Add a learned map of side ``size``, resized to that of the input (ViT, https://arxiv.org/abs/2010.11929)."""

    def __init__(self, channels: int, size: int) -> None:
        super().__init__()
        self.shape = (1, channels, size, size)
        self.absolute_position_bias = nn.Parameter(torch.empty(channels * size * size))
        nn.init.trunc_normal_(self.absolute_position_bias, std=0.02)

    def forward(self, x: Tensor) -> Tensor:
        """Return the sum of ``x``, ``(B, C, H, W)``, and the map."""
        positions = at_least_float32(self.absolute_position_bias).reshape(self.shape)
        size = x.shape[2:]
        if not is_fixed(*size) or self.shape[2:] != tuple(size):
            positions = F.interpolate(positions, size=size, mode="bilinear", align_corners=False)
        return x + positions.to(x.dtype)


class RotaryPositionEmbedding(nn.Module):
    """Rotate pairs of channels of queries and keys by angles proportional to the position (2-D RoPE).

    RoFormer, https://arxiv.org/abs/2104.09864, and RoPE-ViT, https://arxiv.org/abs/2403.13298. The product of two
    rotated vectors depends on the offset between their positions only. Axial: the first half of the pairs rotates with
    the column, the second half with the row, by ``theta^(-4 t / d)`` per cell. Mixed: each pair of each head has two
    learned frequencies, which start as the axial ones in a random direction per head. ``head_dim``, d, is a multiple
    of 4.
    """

    def __init__(self, heads: int, head_dim: int, theta: float, mixed: bool) -> None:
        super().__init__()
        self.theta = float(theta)
        self.shape = (2, heads, 1, 1, head_dim // 2)  # column and row; heads; one position; pairs
        self.rope_frequencies_bias = nn.Parameter(torch.empty(heads * head_dim)) if mixed else None
        if self.rope_frequencies_bias is not None:
            size = self.axial_frequencies(head_dim, self.rope_frequencies_bias)  # d/4
            angle = torch.rand(heads, 1) * 2 * math.pi
            column = torch.cat([size * angle.cos(), size * (angle + math.pi / 2).cos()], 1)  # heads d/2
            row = torch.cat([size * angle.sin(), size * (angle + math.pi / 2).sin()], 1)
            with torch.no_grad():
                self.rope_frequencies_bias.copy_(torch.stack([column, row]).flatten())

    def axial_frequencies(self, head_dim: int, like: Tensor) -> Tensor:
        """Return the d/4 axial frequencies in the dtype of ``like``."""
        t = torch.arange(0, head_dim, 4, device=like.device, dtype=like.dtype)[: head_dim // 4]
        return self.theta ** (-t / head_dim)

    def angles(self, height: int, width: int, head_dim: int, like: Tensor) -> Tensor:
        """Return the angle of each pair at each position, ``(1 or heads, H, W, d/2)``."""
        y = torch.arange(height, device=like.device, dtype=like.dtype).reshape(1, -1, 1, 1)
        x = torch.arange(width, device=like.device, dtype=like.dtype).reshape(1, 1, -1, 1)
        if self.rope_frequencies_bias is None:
            frequencies = self.axial_frequencies(head_dim, like)
            column = (x * frequencies).expand(1, height, width, -1)
            row = (y * frequencies).expand(1, height, width, -1)
            return torch.cat([column, row], 3)
        column, row = self.rope_frequencies_bias.to(like.dtype).reshape(self.shape)  # heads 1 1 d/2
        return x * column + y * row

    def forward(self, *tensors: Tensor) -> list[Tensor]:
        """Return each tensor, ``(B, heads, H, W, d)``, rotated; same dtype."""
        H, W = tensors[0].shape[2:4]
        d = 2 * self.shape[-1]
        with torch.autocast(tensors[0].device.type, enabled=False):
            angles = self.angles(H, W, d, at_least_float32(tensors[0]))
            cos, sin = angles.cos(), angles.sin()
            return [rotate_pairs(t, cos, sin) for t in tensors]


def rotate_pairs(t: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotate the pairs (0, 1), (2, 3) and so on of the last axis."""
    a, b = at_least_float32(t).reshape(*t.shape[:-1], -1, 2).unbind(-1)
    return torch.stack([a * cos - b * sin, a * sin + b * cos], -1).flatten(-2).to(t.dtype)
