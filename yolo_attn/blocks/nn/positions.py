"""Ways in which places enter attention: a bias table over offsets, a map that is added, rotations of q and k."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import nn

from ..functional import at_least_float32

# The tables are 1-D because Ultralytics' MuSGD takes every 2-D and 4-D parameter for a matrix, up to 8.4.0 every one of
# more than one dimension (and fails at three), and their names hold "bias" because all others get weight decay.


class RelativePositionBias(nn.Module):
    """A learnable bias per head and offset between query and key (Swin, https://arxiv.org/abs/2103.14030).

    The table's middle is offset 0, its first entry the query furthest before the key: along one axis entry
    ``q - k + keys - 1`` where queries and keys count from the same place.

    Args:
        heads: Number of heads.
        size: Entries per axis: queries + keys - 1.
    """

    def __init__(self, heads: int, size: int) -> None:
        super().__init__()
        self.shape = (heads, size, size)
        self.relative_position_bias_table = nn.Parameter(torch.empty(heads * size * size))
        nn.init.trunc_normal_(self.relative_position_bias_table, std=0.02)

    def forward(self, height: int, width: int) -> torch.Tensor:
        """Return the table for other sizes, ``(heads, height, width)``, in float32 at least.

        Fewer offsets are those in the middle: they keep their meaning in cells. More are interpolated: the furthest
        keep theirs, and so does 0.
        """
        table = at_least_float32(self.relative_position_bias_table).reshape(self.shape)
        h, w = table.shape[1:]
        y, x = max(0, h - height) // 2, max(0, w - width) // 2
        table = table[:, y : h - y, x : w - x]
        if table.shape[1:] == (height, width):
            return table
        return F.interpolate(table.unsqueeze(0), size=(height, width), mode="bilinear", align_corners=True)[0]


class AbsolutePositionEmbedding(nn.Module):
    """A learnable map that is added to the input (ViT, https://arxiv.org/abs/2010.11929), resized to its size.

    Args:
        channels: C.
        size: Side of the map that is learned.
    """

    def __init__(self, channels: int, size: int) -> None:
        super().__init__()
        self.shape = (1, channels, size, size)
        self.absolute_position_bias = nn.Parameter(torch.empty(channels * size * size))
        nn.init.trunc_normal_(self.absolute_position_bias, std=0.02)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return ``x``, ``(B, C, H, W)``, with the map added."""
        places = at_least_float32(self.absolute_position_bias).reshape(self.shape)
        size = (int(x.shape[2]), int(x.shape[3]))
        if places.shape[2:] != size:
            places = F.interpolate(places, size=size, mode="bilinear", align_corners=False)
        return x + places.to(x.dtype)


class RotaryPositionEmbedding(nn.Module):
    """Rotary position embedding in two dimensions: pairs of channels turn by angles that grow with the place.

    RoFormer, https://arxiv.org/abs/2104.09864, and RoPE-ViT, https://arxiv.org/abs/2403.13298. A product of two vectors
    turned so depends on the offset between their places only. Axial: the first half of the
    pairs turns with the column, the second with the row, by ``theta^(-4 t / d)`` per cell. Mixed: every pair of every
    head has two learnable frequencies; they start as the axial ones, in a random direction per head.

    Args:
        heads: Number of heads.
        head_dim: d, a multiple of 4.
        theta: Base of the frequencies.
        mixed: Whether they are learnable.
    """

    def __init__(self, heads: int, head_dim: int, theta: float, mixed: bool) -> None:
        super().__init__()
        self.theta = float(theta)
        self.shape = (2, heads, 1, 1, head_dim // 2)  # across and down; heads; one place; pairs
        self.rope_frequencies_bias = nn.Parameter(torch.empty(heads * head_dim)) if mixed else None
        if self.rope_frequencies_bias is not None:
            size = self.axial_frequencies(head_dim, self.rope_frequencies_bias)  # d/4
            turn = torch.rand(heads, 1) * 2 * math.pi
            across = torch.cat([size * turn.cos(), size * (turn + math.pi / 2).cos()], 1)  # heads d/2
            down = torch.cat([size * turn.sin(), size * (turn + math.pi / 2).sin()], 1)
            with torch.no_grad():
                self.rope_frequencies_bias.copy_(torch.stack([across, down]).flatten())

    def axial_frequencies(self, head_dim: int, like: torch.Tensor) -> torch.Tensor:
        """Return the d/4 axial frequencies, at the precision of ``like``."""
        t = torch.arange(0, head_dim, 4, device=like.device, dtype=like.dtype)[: head_dim // 4]
        return self.theta ** (-t / head_dim)

    def angles(self, height: int, width: int, head_dim: int, like: torch.Tensor) -> torch.Tensor:
        """Return how far each pair turns at each place, ``(1 or heads, H, W, d/2)``."""
        y = torch.arange(height, device=like.device, dtype=like.dtype).reshape(1, -1, 1, 1)
        x = torch.arange(width, device=like.device, dtype=like.dtype).reshape(1, 1, -1, 1)
        if self.rope_frequencies_bias is None:
            frequencies = self.axial_frequencies(head_dim, like)
            across = (x * frequencies).expand(1, height, width, -1)
            down = (y * frequencies).expand(1, height, width, -1)
            return torch.cat([across, down], 3)
        across, down = self.rope_frequencies_bias.to(like.dtype).reshape(self.shape)  # heads 1 1 d/2
        return x * across + y * down

    def forward(self, *tensors: torch.Tensor) -> list[torch.Tensor]:
        """Return each tensor, ``(B, heads, H, W, d)``, turned; same dtype."""
        H, W, d = (int(n) for n in tensors[0].shape[2:])
        with torch.autocast(tensors[0].device.type, enabled=False):
            angles = self.angles(H, W, d, at_least_float32(tensors[0]))
            cos, sin = angles.cos(), angles.sin()
            return [rotate_pairs(t, cos, sin) for t in tensors]


def rotate_pairs(t: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    """Rotate the pairs (0, 1), (2, 3) and so on of the last axis."""
    a, b = at_least_float32(t).reshape(*t.shape[:-1], -1, 2).unbind(-1)
    return torch.stack([a * cos - b * sin, a * sin + b * cos], -1).flatten(-2).to(t.dtype)
