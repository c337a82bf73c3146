"""Regions of a map: cut them out, process them, paste them back.

Coordinates are those of ``grid_sample`` with ``align_corners=False``: -1 and 1 are the outer edges of the map, not the
centers of its outermost cells, so a coordinate means the same place at every size. Values outside the map are zero.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..functional import at_least_float32, batch_norm


def cell_centers(cells: int, like: Tensor) -> Tensor:
    """Return the coordinates of the centers of ``cells`` cells from -1 to 1, in dtype and device of ``like``."""
    return (2 * torch.arange(cells, dtype=like.dtype, device=like.device) + 1) / cells - 1


def sample_grid(x: Tensor, columns: Tensor, rows: Tensor) -> Tensor:
    """Return the values of ``x``, ``(B, C, H, W)``, where rows and columns cross, bilinear, zero outside.

    ``columns``, ``(B, n, w)``, are the x coordinates of each region's columns; ``rows``, ``(B, n, h)``, are the y
    coordinates of its rows. The result is ``(B, C, n, h, w)``.
    """
    B, n, w = columns.shape
    h = rows.shape[2]
    grid = torch.stack([columns.unsqueeze(2).expand(B, n, h, w), rows.unsqueeze(3).expand(B, n, h, w)], 4)  # B n h w 2
    y = F.grid_sample(x, grid.reshape(B, n * h, w, 2), "bilinear", "zeros", align_corners=False)  # B C nh w
    return y.reshape(B, x.shape[1], n, h, w)


def cut_regions(x: Tensor, translation: Tensor, scale: Tensor, size: tuple[int, int]) -> Tensor:
    """Cut regions of ``size`` (h, w) cells out of ``x``, ``(B, C, H, W)``: ``(B, C, n, h, w)``, dtype of ``x``.

    Position (u, v) of a region is ``(s_x u + t_x, s_y v + t_y)`` of the map. ``translation`` and ``scale`` are
    ``(B, n, 2)``, as (x, y). Computed in float32 or float64.
    """
    h, w = size
    with torch.autocast(x.device.type, enabled=False):
        t, s = at_least_float32(translation).unsqueeze(3), at_least_float32(scale).unsqueeze(3)  # B n 2 1
        values = at_least_float32(x)
        columns = s[:, :, 0] * cell_centers(w, t) + t[:, :, 0]  # B n w
        rows = s[:, :, 1] * cell_centers(h, t) + t[:, :, 1]  # B n h
        return sample_grid(values, columns.to(values.dtype), rows.to(values.dtype)).to(x.dtype)


def paste_regions(regions: Tensor, translation: Tensor, scale: Tensor, size: tuple[int, int]) -> Tensor:
    """Place regions, ``(B, C, n, h, w)``, where :func:`cut_regions` cut them out, zero elsewhere, and sum them.

    Returns a map of ``size`` (H, W), ``(B, C, H, W)``, dtype of ``regions``; computed in float32 or float64.
    """
    B, C, n, h, w = regions.shape
    H, W = size
    with torch.autocast(regions.device.type, enabled=False):
        t, s = at_least_float32(translation).unsqueeze(3), at_least_float32(scale).unsqueeze(3)  # B n 2 1
        values = at_least_float32(regions).transpose(1, 2).reshape(B * n, C, h, w)
        columns = ((cell_centers(W, t) - t[:, :, 0]) / s[:, :, 0]).reshape(B * n, 1, W)
        rows = ((cell_centers(H, t) - t[:, :, 1]) / s[:, :, 1]).reshape(B * n, 1, H)
        y = sample_grid(values, columns.to(values.dtype), rows.to(values.dtype))  # Bn C 1 H W
        return y.reshape(B, n, C, H, W).sum(1).to(regions.dtype)


class RegionBottleneck(nn.Module):
    """Apply a bottleneck (1x1, 3x3, 1x1) to each region with shared weights, paste the results back and sum them.

    The two 1x1 convolutions run on the whole map. They have no bias and do not mix positions, so they commute with
    cutting and pasting, which is cheaper on fewer channels. Between them are C / ``reduction`` channels.
    """

    def __init__(self, channels: int, reduction: int) -> None:
        super().__init__()
        width = max(1, channels // reduction)
        self.reduce = nn.Conv2d(channels, width, 1, bias=False)
        self.reduce_bn = nn.BatchNorm2d(width)
        self.conv = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.conv_bn = nn.BatchNorm2d(width)
        self.expand = nn.Conv2d(width, channels, 1, bias=False)

    def forward(self, x: Tensor, translation: Tensor, scale: Tensor) -> Tensor:
        """Return the sum of the processed regions of ``x``, ``(B, C, H, W)``, in that shape."""
        B, _, H, W = x.shape
        n = translation.shape[1]
        h = (H + n - 1) // n
        z = cut_regions(self.reduce(x), translation, scale, (h, W))  # B R n h W
        z = z.transpose(1, 2).reshape(B * n, z.shape[1], h, W)
        z = batch_norm(self.reduce_bn, z).relu()
        z = batch_norm(self.conv_bn, self.conv(z)).relu()  # Bn R h W
        z = z.reshape(B, n, z.shape[1], h, W).transpose(1, 2)
        return self.expand(paste_regions(z, translation, scale, (H, W)))  # B C H W
