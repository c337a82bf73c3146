"""Regions of a map: where they lie, cutting them out, working on them, writing them back.

Coordinates are those of ``grid_sample`` with ``align_corners=False``: -1 and 1 are the outer edges of the map, not the
middles of its outermost cells, so that a coordinate means the same place at every size. Outside the map are zeros.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from ..functional import at_least_float32, batch_norm


def cell_centers(cells: int, like: torch.Tensor) -> torch.Tensor:
    """Return the coordinates of the middles of ``cells`` cells from -1 to 1, in dtype and device of ``like``."""
    return (2 * torch.arange(cells, dtype=like.dtype, device=like.device) + 1) / cells - 1


def sample_grid(x: torch.Tensor, across: torch.Tensor, down: torch.Tensor) -> torch.Tensor:
    """Return the values of ``x`` at the crossings of columns and rows, bilinear, zero outside.

    Args:
        x: ``(B, C, H, W)``.
        across: ``(B, n, w)``, for each region the coordinates of its columns.
        down: ``(B, n, h)``, of its rows.

    Returns:
        ``(B, C, n, h, w)``.
    """
    B, n, w = across.shape
    h = down.shape[2]
    grid = torch.stack([across.unsqueeze(2).expand(B, n, h, w), down.unsqueeze(3).expand(B, n, h, w)], 4)  # B n h w 2
    y = F.grid_sample(x, grid.reshape(B, n * h, w, 2), "bilinear", "zeros", align_corners=False)  # B C nh w
    return y.reshape(B, x.shape[1], n, h, w)


def cut_regions(x: torch.Tensor, translation: torch.Tensor, scale: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """Cut regions out: position (u, v) of a region is ``(s_x u + t_x, s_y v + t_y)`` of the map.

    Args:
        x: ``(B, C, H, W)``.
        translation: ``(B, n, 2)``, t_x and t_y of each region.
        scale: ``(B, n, 2)``, s_x and s_y.
        size: h and w, the cells that each region is read into.

    Returns:
        ``(B, C, n, h, w)``, dtype of ``x``; computed in float32 at least.
    """
    h, w = size
    with torch.autocast(x.device.type, enabled=False):
        t, s = at_least_float32(translation).unsqueeze(3), at_least_float32(scale).unsqueeze(3)  # B n 2 1
        values = at_least_float32(x)
        across = s[:, :, 0] * cell_centers(w, t) + t[:, :, 0]  # B n w
        down = s[:, :, 1] * cell_centers(h, t) + t[:, :, 1]  # B n h
        return sample_grid(values, across.to(values.dtype), down.to(values.dtype)).to(x.dtype)


def paste_regions(
    regions: torch.Tensor, translation: torch.Tensor, scale: torch.Tensor, size: tuple[int, int]
) -> torch.Tensor:
    """Lay regions where :func:`cut_regions` took them from, zero elsewhere, and sum them.

    Args:
        regions: ``(B, C, n, h, w)``.
        translation: ``(B, n, 2)``.
        scale: ``(B, n, 2)``.
        size: H and W of the map.

    Returns:
        ``(B, C, H, W)``, dtype of ``regions``; computed in float32 at least.
    """
    B, C, n, h, w = regions.shape
    H, W = size
    with torch.autocast(regions.device.type, enabled=False):
        t, s = at_least_float32(translation).unsqueeze(3), at_least_float32(scale).unsqueeze(3)  # B n 2 1
        values = at_least_float32(regions).transpose(1, 2).reshape(B * n, C, h, w)
        across = ((cell_centers(W, t) - t[:, :, 0]) / s[:, :, 0]).reshape(B * n, 1, W)
        down = ((cell_centers(H, t) - t[:, :, 1]) / s[:, :, 1]).reshape(B * n, 1, H)
        y = sample_grid(values, across.to(values.dtype), down.to(values.dtype))  # Bn C 1 H W
        return y.reshape(B, n, C, H, W).sum(1).to(regions.dtype)


class RegionBottleneck(nn.Module):
    """A bottleneck (1x1, 3x3, 1x1) on each region, one set of weights for all, written back and summed.

    The two 1x1 convolutions run on the whole map: each works on single positions and has no bias, so that it may be
    done before cutting and after writing back, where there is less to sample.

    Args:
        channels: C of the map.
        reduction: C divided by the channels between the 1x1 convolutions.
    """

    def __init__(self, channels: int, reduction: int) -> None:
        super().__init__()
        width = max(1, channels // reduction)
        self.reduce = nn.Conv2d(channels, width, 1, bias=False)
        self.reduce_bn = nn.BatchNorm2d(width)
        self.conv = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.conv_bn = nn.BatchNorm2d(width)
        self.expand = nn.Conv2d(width, channels, 1, bias=False)

    def forward(self, x: torch.Tensor, translation: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
        """Return what the regions of ``x``, ``(B, C, H, W)``, contribute to it, in that shape."""
        B, _, H, W = x.shape
        n = translation.shape[1]
        h = (H + n - 1) // n
        z = cut_regions(self.reduce(x), translation, scale, (h, W))  # B R n h W
        z = z.transpose(1, 2).reshape(B * n, z.shape[1], h, W)
        z = batch_norm(self.reduce_bn, z).relu()
        z = batch_norm(self.conv_bn, self.conv(z)).relu()  # Bn R h W
        z = z.reshape(B, n, z.shape[1], h, W).transpose(1, 2)
        y: torch.Tensor = self.expand(paste_regions(z, translation, scale, (H, W)))  # B C H W
        return y
