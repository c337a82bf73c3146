"""Split maps into windows and join them again. Windows may reach beyond the map: a mask marks the valid keys."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class WindowAxis:
    """Describe how one axis of a map is split.

    Attributes:
        size: Positions of the map.
        window: Positions of a window of queries.
        before: Padding before the first position.
        count: Number of windows.
        overlap: How far a window of keys extends beyond its window of queries, on each side.
    """

    size: int
    window: int
    before: int = 0
    count: int = 1
    overlap: int = 0

    @property
    def after(self) -> int:
        """Return the padding after the last position."""
        return self.count * self.window - self.size - self.before

    @property
    def keys(self) -> int:
        """Return the positions of a window of keys."""
        return self.window + 2 * self.overlap


def window_axis(size: int, window: int, shift: int, overlap: int) -> WindowAxis:
    """Return an axis of windows, the first full one starting at ``shift``; one window if the map is no larger."""
    if window >= size:
        return WindowAxis(size, size)
    before = window - shift if shift else 0
    return WindowAxis(size, window, before, -(-(size + before) // window), overlap)


def split_windows(x: Tensor, rows: WindowAxis, columns: WindowAxis, keys: bool) -> Tensor:
    """Split ``(B, heads, H, W, d)`` into windows of queries or keys, ``(B * windows, heads, h, w, d)``."""
    overlap = (rows.overlap, columns.overlap) if keys else (0, 0)
    before, after = (rows.before, columns.before), (rows.after, columns.after)
    padding = [0, 0, before[1] + overlap[1], after[1] + overlap[1], before[0] + overlap[0], after[0] + overlap[0]]
    if any(padding):
        x = F.pad(x, padding)
    if rows.count == columns.count == 1:
        return x
    heads, d = x.shape[1], x.shape[4]
    if any(overlap):
        x = x.unfold(2, rows.window + 2 * overlap[0], rows.window)  # B heads rows W d h
        x = x.unfold(3, columns.window + 2 * overlap[1], columns.window).permute(0, 2, 3, 1, 5, 6, 4)
        return x.reshape(-1, heads, *x.shape[4:6], d)
    x = x.reshape(-1, heads, rows.count, rows.window, columns.count, columns.window, d)
    return x.permute(0, 2, 4, 1, 3, 5, 6).reshape(-1, heads, rows.window, columns.window, d)


def valid_keys(rows: WindowAxis, columns: WindowAxis, like: Tensor) -> Tensor | None:
    """Return which keys of each window are positions of the map, ``(windows, h, w)``; None if all are."""
    if not any((rows.before, rows.after, rows.overlap, columns.before, columns.after, columns.overlap)):
        return None
    ones = torch.ones(1, 1, rows.size, columns.size, 1, device=like.device)
    return split_windows(ones, rows, columns, keys=True)[:, 0, :, :, 0] > 0


def join_windows(x: Tensor, rows: WindowAxis, columns: WindowAxis) -> Tensor:
    """Join windows of queries, ``(B * windows, heads, h, w, d)``, to ``(B, heads, H, W, d)``."""
    if rows.count * columns.count > 1:
        heads, d = x.shape[1], x.shape[4]
        x = x.reshape(-1, rows.count, columns.count, heads, rows.window, columns.window, d)
        x = x.permute(0, 3, 1, 4, 2, 5, 6)
        x = x.reshape(-1, heads, rows.count * rows.window, columns.count * columns.window, d)
    return x[:, :, rows.before : rows.before + rows.size, columns.before : columns.before + columns.size]
